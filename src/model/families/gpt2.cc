// GPT-2: learned positions, layer norms, matrices stored as [k, n].
#include <fmt/format.h>

#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"

namespace marlin {
namespace {
Result<Sizes> ParseGpt2(const Config& config) {
  Sizes out;
  out.norm = {NormKind::kLayer, {}, {}, false, 1e-5f};
  out.tied = true;
  const Status read = ReadFields(config, {{"vocab_size", &out.vocab},
                                          {"n_embd", &out.hidden},
                                          {"n_head", &out.heads},
                                          {"n_layer", &out.blocks},
                                          {"n_positions", &out.context},
                                          {"n_inner", &out.intermediate, true},
                                          {"layer_norm_epsilon", &out.norm.eps},
                                          {"tie_word_embeddings", &out.tied}});
  if (!read) return read.error();
  if (out.intermediate == 0) out.intermediate = 4 * out.hidden;
  if (out.hidden % out.heads != 0) {
    return BadConfig(fmt::format("n_embd {} is not a multiple of n_head {}", out.hidden, out.heads));
  }
  out.kv_heads = out.heads;
  out.head_dim = out.hidden / out.heads;
  if (auto status = CheckSizes(out); !status) return status.error();
  return out;
}

// Stored as [k, n]; as [n, k] it has a name of its own.
std::size_t AddStored(const BlockBuilder& to, const std::string& name, std::size_t n, std::size_t k) {
  return to.Slices(name, {{".transposed", n}}, k, true, true);
}

Attention AddStoredAttention(const BlockBuilder& to, const Sizes& s) {
  const std::size_t n = s.hidden;
  const std::size_t q = to.Slices(".c_attn", {{".query", n}, {".key", n}, {".value", n}}, n, true, true);
  const std::size_t o = AddStored(to, ".c_proj", n, n);
  Attention out = AttentionOf(to, s, q, o, OfValues(s, q + 2));
  out.rope.reset();
  return out;
}

FeedForward AddStoredPlain(const BlockBuilder& to, const Sizes& s, Activation activation) {
  FeedForward out;
  out.up = AddStored(to, ".c_fc", s.intermediate, s.hidden);
  out.down = AddStored(to, ".c_proj", s.hidden, s.intermediate);
  out.activation = activation;
  AddFeedForwardInputs(to, out);
  return out;
}

constexpr Names kGpt2Names = {
    "transformer.wte", "transformer.wpe", "transformer.ln_f", "lm_head", "transformer.h", ".ln_1", ".ln_2"};

}  // namespace

Result<Description> DescribeGpt2(const Config& config) {
  const auto sizes = ParseGpt2(config);
  if (!sizes) return sizes.error();
  const auto activation = ParseActivation(config, "activation_function", "gelu_new");
  if (!activation) return activation.error();
  bool scaled = true, by_layer = false;
  const Status read =
      ReadFields(config, {{"scale_attn_weights", &scaled}, {"scale_attn_by_inverse_layer_idx", &by_layer}});
  if (!read) return read.error();
  config.Has("reorder_and_upcast_attn");  // the order of rounding alone
  const auto mixer = [&](const BlockBuilder& to) {
    Attention attention = AddStoredAttention(to.Under(".attn"), *sizes);
    if (!scaled) attention.scale = 1;
    if (by_layer) attention.scale /= static_cast<float>(to.index + 1);
    return attention;
  };
  const auto feed_forward = [&](const BlockBuilder& to) {
    return AddStoredPlain(to.Under(".mlp"), *sizes, *activation);
  };
  return DescribeBlocks(*sizes, {}, mixer, feed_forward, kGpt2Names);
}

}  // namespace marlin
