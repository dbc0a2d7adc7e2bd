// Phi-3: Llama with one tensor for queries, keys and values, and one for gate and up.
#include <nlohmann/json.hpp>

#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"

namespace marlin {
namespace {
using nlohmann::json;

Attention AddFusedAttention(const BlockBuilder& to, const Sizes& s) {
  const std::size_t q_size = s.heads * s.head_dim;
  const std::size_t kv_size = s.kv_heads * s.head_dim;
  const std::vector<Slice> qkv = {{".query", q_size}, {".key", kv_size}, {".value", kv_size}};
  const std::size_t q = to.Slices(".qkv_proj", qkv, s.hidden);
  const std::size_t o = to.Linear(".o_proj", s.hidden, q_size);
  return AttentionOf(to, s, q, o, OfValues(s, q + 2));
}

FeedForward AddFusedGated(const BlockBuilder& to, const Sizes& s) {
  FeedForward out;
  out.gate = to.Slices(".gate_up_proj", {{".gate", s.intermediate}, {".up", s.intermediate}}, s.hidden);
  out.up = *out.gate + 1;
  out.down = to.Linear(".down_proj", s.hidden, s.intermediate);
  AddFeedForwardInputs(to, out);
  return out;
}

}  // namespace

Result<Description> DescribePhi3(const json& config) {
  const auto sizes = ParseSizes(config);
  if (!sizes) return sizes.error();
  double rotary = 1;
  std::size_t window = 0;  // none
  const Status read = ReadFields(config, {{"partial_rotary_factor", &rotary}, {"sliding_window", &window, true}});
  if (!read) return read.error();
  const auto mixer = [&](const BlockBuilder& to) {
    Attention attention = AddFusedAttention(to.Under(".self_attn"), *sizes);
    if (window != 0) attention.window = window;
    return attention;
  };
  const auto feed_forward = [&](const BlockBuilder& to) { return AddFusedGated(to.Under(".mlp"), *sizes); };
  const auto dims = static_cast<std::size_t>(static_cast<double>(sizes->head_dim) * rotary);
  return DescribeBlocks(*sizes, {{dims, false, {}}}, mixer, feed_forward);
}

}  // namespace marlin
