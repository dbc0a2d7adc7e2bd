// GPT-NeoX and Pythia: attention and feed-forward part side by side, and (query, key, value) of one head after the
// other.
#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"
#include "model/rope_config.h"

namespace marlin {
namespace {
Attention AddSideAttention(const BlockBuilder& to, const Sizes& s, bool bias) {
  const std::size_t n = s.hidden;
  const std::size_t d = s.head_dim;
  const std::vector<Slice> qkv = {
      {".query", n, {0, d, 3 * d}}, {".key", n, {d, d, 3 * d}}, {".value", n, {2 * d, d, 3 * d}}};
  const std::size_t q = to.Slices(".query_key_value", qkv, n, bias);
  const std::size_t o = to.Linear(".dense", n, n, bias);
  return AttentionOf(to, s, q, o, OfValues(s, q + 2));
}

FeedForward AddPlain(const BlockBuilder& to, const Sizes& s, Activation activation) {
  FeedForward out;
  out.up = to.Linear(".dense_h_to_4h", s.intermediate, s.hidden, true);
  out.down = to.Linear(".dense_4h_to_h", s.hidden, s.intermediate, true);
  out.activation = activation;
  AddFeedForwardInputs(to, out);
  return out;
}

constexpr Names kNeoxNames = {"gpt_neox.embed_in", nullptr, "gpt_neox.final_layer_norm", "embed_out",
                              "gpt_neox.layers"};

}  // namespace

Result<Description> DescribeGptNeox(const Config& config) {
  Sizes defaults;
  defaults.norm = {NormKind::kLayer, {}, {}, false, 1e-5f};
  const auto sizes = ParseSizes(config, defaults);
  if (!sizes) return sizes.error();
  if (sizes->kv_heads != sizes->heads) return UnsupportedConfig("\"num_key_value_heads\" is not that of all heads");
  Sizes with_eps = *sizes;
  bool parallel = true, bias = true;
  const Status read = ReadFields(
      config,
      {{"layer_norm_eps", &with_eps.norm.eps}, {"use_parallel_residual", &parallel}, {"attention_bias", &bias}});
  if (!read) return read.error();
  const auto activation = ParseActivation(config, "hidden_act", "gelu");
  if (!activation) return activation.error();
  auto rope = ParseRope(config, {.head_dim = sizes->head_dim,
                                 .context = sizes->context,
                                 .theta_key = "rotary_emb_base",
                                 .rotary_share = 0.25,
                                 .share_key = "rotary_pct",
                                 .may_be_partial = true});
  if (!rope) return rope.error();
  const auto mixer = [&](const BlockBuilder& to) {
    to.block.parallel = parallel;
    return AddSideAttention(to.Under(".attention"), *sizes, bias);
  };
  const auto feed_forward = [&](const BlockBuilder& to) { return AddPlain(to.Under(".mlp"), *sizes, *activation); };
  return DescribeBlocks(with_eps, {*std::move(rope)}, mixer, feed_forward, kNeoxNames);
}

}  // namespace marlin
