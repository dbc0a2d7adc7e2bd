// GPT-NeoX and Pythia: attention and feed-forward part side by side, and (query, key, value) of one head after the
// other.
#include <nlohmann/json.hpp>

#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"

namespace marlin {
namespace {
using nlohmann::json;

Attention AddSideAttention(const BlockBuilder& to, const Sizes& s, bool bias) {
  const std::size_t n = s.hidden;
  const std::size_t d = s.head_dim;
  const std::vector<Slice> qkv = {
      {".query", n, {0, d, 3 * d}}, {".key", n, {d, d, 3 * d}}, {".value", n, {2 * d, d, 3 * d}}};
  const std::size_t q = to.Slices(".query_key_value", qkv, n, bias);
  const std::size_t o = to.Linear(".dense", n, n, bias);
  return AttentionOf(to, s, q, o, OfRows(q + 2, n));
}

FeedForward AddPlain(const BlockBuilder& to, const Sizes& s) {
  FeedForward out;
  out.up = to.Linear(".dense_h_to_4h", s.intermediate, s.hidden, true);
  out.down = to.Linear(".dense_4h_to_h", s.hidden, s.intermediate, true);
  out.activation = Activation::kGelu;
  AddFeedForwardInputs(to, out);
  return out;
}

constexpr Names kNeoxNames = {"gpt_neox.embed_in", nullptr, "gpt_neox.final_layer_norm", "embed_out",
                              "gpt_neox.layers"};

}  // namespace

Result<Description> DescribeGptNeox(const json& config) {
  auto sizes = ParseSizes(config);
  if (!sizes) return sizes.error();
  sizes->norm = {NormKind::kLayer, {}, {}, false, 1e-5f};
  sizes->kv_heads = sizes->heads;
  double rotary = 0.25;
  bool parallel = true;
  bool bias = true;
  const Status read = ReadFields(
      config, {{"layer_norm_eps", &sizes->norm.eps}, {"use_parallel_residual", &parallel}, {"attention_bias", &bias}});
  if (!read) return read.error();
  const json rope = config.value("rope_parameters", json::object());
  if (auto status = ReadFields(rope, {{"partial_rotary_factor", &rotary}}); !status) return status.error();
  const auto mixer = [&](const BlockBuilder& to) {
    to.block.parallel = parallel;
    return AddSideAttention(to.Under(".attention"), *sizes, bias);
  };
  const auto feed_forward = [&](const BlockBuilder& to) { return AddPlain(to.Under(".mlp"), *sizes); };
  const auto dims = static_cast<std::size_t>(static_cast<double>(sizes->head_dim) * rotary);
  return DescribeBlocks(*sizes, {{dims, false, {}}}, mixer, feed_forward, kNeoxNames);
}

}  // namespace marlin
