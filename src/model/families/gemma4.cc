// Gemma 4, the text model with embeddings for each block (E2B, E4B). Its last blocks read the keys and values of
// earlier ones. Mixtures of experts (26B) and keys that are also values (31B) are not described.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"

namespace marlin {
namespace {
using nlohmann::json;

constexpr const char* kSliding = "sliding_attention";
constexpr const char* kFull = "full_attention";

struct GemmaSizes {
  Sizes base;
  std::vector<std::string> types;
  std::size_t full_head_dim = 0;
  std::size_t window = 0;
  std::size_t sharing = 0;  // blocks at the end that have no keys and values of their own
  bool wide_sharing = false;
  std::size_t token_vocab = 0, token_width = 0;
  float softcap = 0;  // none

  std::size_t first_sharing() const { return base.blocks - sharing; }
  bool IsFull(std::size_t block) const { return types[block] == kFull; }
  std::size_t HeadDim(std::size_t block) const { return IsFull(block) ? full_head_dim : base.head_dim; }
  // Of the last block of the same type that has its own.
  std::size_t CacheOf(std::size_t block) const {
    if (block < first_sharing()) return block;
    std::size_t from = first_sharing() - 1;
    while (from > 0 && types[from] != types[block]) --from;
    return from;
  }
};

// transformers writes the width of full heads for each block, published files as "global_head_dim".
Result<std::size_t> FullHeadDim(const json& config, const GemmaSizes& sizes) {
  if (HasKey(config, "global_head_dim")) return SizeOf(config, "global_head_dim");
  if (!HasKey(config, "per_layer_config")) return sizes.base.head_dim;
  for (std::size_t i = 0; i < sizes.base.blocks; ++i) {
    const std::string block = std::to_string(i);
    if (sizes.IsFull(i) && HasKey(config["per_layer_config"], block.c_str())) {
      return SizeOf(config["per_layer_config"][block], "head_dim");
    }
  }
  return sizes.base.head_dim;
}

Result<GemmaSizes> ParseGemma(const json& config) {
  for (const char* key : {"enable_moe_block", "attention_k_eq_v", "attention_bias"}) {
    const auto flag = FlagOf(config, key, false);
    if (!flag) return flag.error();
    if (*flag) return UnsupportedConfig(fmt::format("\"{}\" is true, which is not supported", key));
  }
  auto base = ParseSizes(config);
  if (!base) return base.error();
  auto types = LayerTypes(config, base->blocks, {kSliding, kFull});
  if (!types) return types.error();
  GemmaSizes out;
  out.base = *base;
  out.types = *std::move(types);
  const auto full = FullHeadDim(config, out);
  if (!full) return full.error();
  out.full_head_dim = *full;
  const Status read = ReadFields(config, {{"use_double_wide_mlp", &out.wide_sharing},
                                          {"sliding_window", &out.window},
                                          {"vocab_size_per_layer_input", &out.token_vocab},
                                          {"hidden_size_per_layer_input", &out.token_width},
                                          {"num_kv_shared_layers", &out.sharing, true},
                                          {"final_logit_softcapping", &out.softcap}});
  if (!read) return read.error();
  if (out.sharing >= out.base.blocks) return BadConfig("\"num_kv_shared_layers\" leaves no block with keys and values");
  return out;
}

// Values are normed without a weight, so what o reads has no absorber.
Attention AddMixer(const BlockBuilder& to, const GemmaSizes& s) {
  const std::size_t hidden = s.base.hidden;
  Attention out = AttentionOfSizes(s.base);
  out.head_dim = s.HeadDim(to.index);
  out.scale = 1;
  out.rope = s.IsFull(to.index) ? 1 : 0;
  if (!s.IsFull(to.index)) out.window = s.window;
  out.cache = s.CacheOf(to.index);
  const std::size_t q_size = out.heads * out.head_dim;
  const std::size_t kv_size = out.kv_heads * out.head_dim;
  out.q = to.Linear(".q_proj", q_size, hidden);
  out.q_norm = to.AddNorm(".q_norm", out.head_dim, s.base.norm);
  if (out.cache == to.index) {
    out.k = to.Linear(".k_proj", kv_size, hidden);
    out.v = to.Linear(".v_proj", kv_size, hidden);
    out.k_norm = to.AddNorm(".k_norm", out.head_dim, s.base.norm);
    to.block.norms.push_back(s.base.norm);
    out.v_norm = to.block.norms.size() - 1;
  }
  out.o = to.Linear(".o_proj", hidden, q_size);
  AddAttentionInputs(to, out, {});
  return out;
}

TokenInput AddTokenInput(const BlockBuilder& to, const GemmaSizes& s) {
  TokenInput input;
  input.gate = to.Linear(".per_layer_input_gate", s.token_width, s.base.hidden);
  input.projection = to.Linear(".per_layer_projection", s.base.hidden, s.token_width);
  input.norm = to.AddNorm(".post_per_layer_input_norm", s.base.hidden, s.base.norm);
  to.block.inputs.push_back({{input.gate}, {}, {}});  // reads the hidden state itself
  to.block.inputs.push_back({{input.projection}, {}, {}});
  return input;
}

void AddBlock(const BlockBuilder& to, const GemmaSizes& s) {
  Block& block = to.block;
  const auto norm = [&](const char* name) { return to.AddNorm(name, s.base.hidden, s.base.norm); };
  block.mixer_norm = norm(".input_layernorm");
  block.after_mixer = norm(".post_attention_layernorm");
  block.feed_forward_norm = norm(".pre_feedforward_layernorm");
  block.after_feed_forward = norm(".post_feedforward_layernorm");
  block.mixer = AddMixer(to.Under(".self_attn"), s);
  const bool wide = s.wide_sharing && to.index >= s.first_sharing();
  FeedForward part = AddGated(to.Under(".mlp"), s.base.hidden, s.base.intermediate * (wide ? 2 : 1));
  part.activation = Activation::kGeluTanh;
  block.feed_forward = part;
  block.token_input = AddTokenInput(to, s);
  block.scalar = to.Values(".layer_scalar", {1});
}

}  // namespace

Result<Description> DescribeGemma4(const json& config) {
  const auto sizes = ParseGemma(config);
  if (!sizes) return sizes.error();
  const Sizes& base = sizes->base;
  Description out;
  TensorList tensors(out);
  AddAround(out, tensors, base);
  out.embedding_scale = std::sqrt(static_cast<float>(base.hidden));
  const std::size_t width = base.blocks * sizes->token_width;
  const PartsBuilder around{tensors, out, ""};
  out.token_embedding = around.Linear("model.embed_tokens_per_layer", sizes->token_vocab, width);
  out.token_projection = around.Linear("model.per_layer_model_projection", width, base.hidden);
  out.token_norm = around.AddNorm("model.per_layer_projection_norm", sizes->token_width, base.norm);
  if (sizes->softcap != 0) out.logit_softcap = sizes->softcap;
  out.ropes = {{base.head_dim, false, {}}, {sizes->full_head_dim, false, {}}};
  out.caches = sizes->first_sharing();
  for (std::size_t i = 0; i < base.blocks; ++i) {
    Block& block = out.blocks.emplace_back();
    AddBlock({{tensors, block, fmt::format("model.layers.{}", i)}, block, i}, *sizes);
  }
  return out;
}

}  // namespace marlin
