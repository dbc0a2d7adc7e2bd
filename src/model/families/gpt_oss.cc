// gpt-oss: sinks in attention, every second block with a window, and experts with biases, stacked and transposed, whose
// gate and up rows alternate.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"

namespace marlin {
namespace {
using nlohmann::json;

// Gate and up are clamped, and 1 is added to up: neither can absorb what down scales up.
Experts AddExperts(const BlockBuilder& to, const Sizes& s, std::size_t count, std::size_t chosen, float limit) {
  Experts out;
  out.router = to.Linear(".router", count, s.hidden, true);
  to.block.matrices[out.router].keep_16_bits = true;
  out.routing = Routing::kTopThenSoftmax;
  out.chosen = chosen;
  to.block.inputs.push_back({{out.router}, OfNorm(to.block.feed_forward_norm), {}});
  for (std::size_t e = 0; e < count; ++e) {
    const auto add = [&](const std::string& tensor, std::size_t k, const std::vector<Slice>& slices) {
      return to.Slices({tensor, tensor + "_bias", fmt::format(".experts[{}]", e), k, true, count, e}, slices);
    };
    FeedForward part;
    part.gate = add(".experts.gate_up_proj", s.hidden,
                    {{".gate_proj", s.intermediate, {0, 1, 2}}, {".up_proj", s.intermediate, {1, 1, 2}}});
    part.up = *part.gate + 1;
    part.down = add(".experts.down_proj", s.intermediate, {{".down_proj", s.hidden}});
    part.limit = limit;
    AddFeedForwardInputs(to, part, e);
    out.experts.push_back(part);
  }
  return out;
}

}  // namespace

Result<Description> DescribeGptOss(const Config& config) {
  const auto sizes = ParseSizes(config);
  if (!sizes) return sizes.error();
  const auto types = LayerTypes(config, sizes->blocks, {"sliding_attention", "full_attention"});
  if (!types) return types.error();
  std::size_t window = 0, experts = 0, chosen = 0;
  float limit = 7;
  bool bias = true;
  const Status read = ReadFields(config, {{"sliding_window", &window},
                                          {"num_local_experts", &experts},
                                          {"num_experts_per_tok", &chosen},
                                          {"swiglu_limit", &limit},
                                          {"attention_bias", &bias}});
  if (!read) return read.error();
  const auto mixer = [&](const BlockBuilder& to) {
    Attention attention = AddAttention(to.Under(".self_attn"), *sizes, {bias, bias});
    attention.sinks = to.Values(".self_attn.sinks", {sizes->heads});
    if ((*types)[to.index] == "sliding_attention") attention.window = window;
    return attention;
  };
  const auto feed_forward = [&](const BlockBuilder& to) {
    return AddExperts(to.Under(".mlp"), *sizes, experts, chosen, limit);
  };
  return DescribeBlocks(*sizes, {{sizes->head_dim, false, {}}}, mixer, feed_forward);
}

}  // namespace marlin
