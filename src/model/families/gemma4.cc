// Gemma 4, the text model with embeddings for each block (E2B, E4B). Its last blocks read the keys and values of
// earlier ones. Mixtures of experts (26B) and keys that are also values (31B) are not described.
#include <fmt/format.h>

#include <algorithm>
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
  Norm norm;

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
  GemmaSizes out;
  auto base = ParseSizes(config);
  if (!base) return base.error();
  out.base = *base;
  out.norm = {NormKind::kRms, {}, {}, false, out.base.norm_eps};
  auto types = LayerTypes(config, out.base.blocks);
  if (!types) return types.error();
  out.types = *std::move(types);
  const auto unknown = std::ranges::find_if(out.types, [](const auto& t) { return t != kSliding && t != kFull; });
  if (unknown != out.types.end()) return UnsupportedConfig(fmt::format("layer type \"{}\" is not known", *unknown));
  const auto wide = FlagOf(config, "use_double_wide_mlp", false);
  if (!wide) return wide.error();
  out.wide_sharing = *wide;
  const auto full = FullHeadDim(config, out);
  if (!full) return full.error();
  out.full_head_dim = *full;
  const Status read = ReadSizes(config, {{"sliding_window", &out.window},
                                         {"vocab_size_per_layer_input", &out.token_vocab},
                                         {"hidden_size_per_layer_input", &out.token_width},
                                         {"num_kv_shared_layers", &out.sharing, true}});
  if (!read) return read.error();
  if (out.sharing >= out.base.blocks) return BadConfig("\"num_kv_shared_layers\" leaves no block with keys and values");
  return out;
}

// Values are normed without a weight, so what o reads has no absorber.
Attention AddMixer(DescriptionBuilder& builder, Block& block, const std::string& stem, const GemmaSizes& s,
                   std::size_t index) {
  Attention out;
  out.heads = s.base.heads;
  out.kv_heads = s.base.kv_heads;
  out.head_dim = s.HeadDim(index);
  out.scale = 1;
  out.rope = s.IsFull(index) ? 1 : 0;
  if (!s.IsFull(index)) out.window = s.window;
  out.cache = s.CacheOf(index);
  const std::size_t q_size = out.heads * out.head_dim;
  const std::size_t kv_size = out.kv_heads * out.head_dim;
  out.q = builder.Linear(block, stem + ".q_proj", q_size, s.base.hidden);
  out.q_norm = builder.AddNorm(block, stem + ".q_norm", out.head_dim, s.norm);
  Input input{{out.q}, OfNorm(block.mixer_norm), {}};
  if (out.cache == index) {
    out.k = builder.Linear(block, stem + ".k_proj", kv_size, s.base.hidden);
    out.v = builder.Linear(block, stem + ".v_proj", kv_size, s.base.hidden);
    out.k_norm = builder.AddNorm(block, stem + ".k_norm", out.head_dim, s.norm);
    block.norms.push_back(s.norm);
    out.v_norm = block.norms.size() - 1;
    input.matrices.insert(input.matrices.end(), {*out.k, *out.v});
  }
  out.o = builder.Linear(block, stem + ".o_proj", s.base.hidden, q_size);
  block.matrices[out.o].adds_to_hidden = true;
  block.inputs.push_back(std::move(input));
  block.inputs.push_back({{out.o}, {}, {}});
  return out;
}

void AddTokenInput(DescriptionBuilder& builder, Block& block, const std::string& stem, const GemmaSizes& s) {
  TokenInput input;
  input.gate = builder.Linear(block, stem + ".per_layer_input_gate", s.token_width, s.base.hidden);
  input.projection = builder.Linear(block, stem + ".per_layer_projection", s.base.hidden, s.token_width);
  input.norm = builder.AddNorm(block, stem + ".post_per_layer_input_norm", s.base.hidden, s.norm);
  block.inputs.push_back({{input.gate}, {}, {}});  // reads the hidden state itself
  block.inputs.push_back({{input.projection}, {}, {}});
  block.token_input = input;
}

void AddBlock(DescriptionBuilder& builder, Block& block, const GemmaSizes& s, std::size_t index) {
  const std::string stem = fmt::format("model.layers.{}", index);
  const auto norm = [&](const char* name) { return builder.AddNorm(block, stem + name, s.base.hidden, s.norm); };
  block.mixer_norm = norm(".input_layernorm");
  block.after_mixer = norm(".post_attention_layernorm");
  block.feed_forward_norm = norm(".pre_feedforward_layernorm");
  block.after_feed_forward = norm(".post_feedforward_layernorm");
  block.mixer = AddMixer(builder, block, stem + ".self_attn", s, index);
  const bool wide = s.wide_sharing && index >= s.first_sharing();
  FeedForward part = AddGated(builder, block, stem + ".mlp", s.base.hidden, s.base.intermediate * (wide ? 2 : 1), false,
                              OfNorm(block.feed_forward_norm));
  part.activation = Activation::kGeluTanh;
  block.feed_forward = part;
  AddTokenInput(builder, block, stem, s);
  block.scalar = builder.Values(block, stem + ".layer_scalar", {1});
}

}  // namespace

Result<Description> DescribeGemma4(const json& config) {
  const auto sizes = ParseGemma(config);
  if (!sizes) return sizes.error();
  const Sizes& base = sizes->base;
  Description out;
  DescriptionBuilder builder(out);
  AddAround(out, builder, base, sizes->norm);
  out.embedding_scale = std::sqrt(static_cast<float>(base.hidden));
  const std::size_t width = base.blocks * sizes->token_width;
  out.token_embedding = builder.Linear(out, "model.embed_tokens_per_layer", sizes->token_vocab, width);
  out.token_projection = builder.Linear(out, "model.per_layer_model_projection", width, base.hidden);
  out.token_norm = builder.AddNorm(out, "model.per_layer_projection_norm", sizes->token_width, sizes->norm);
  if (HasKey(config, "final_logit_softcapping")) {
    const auto cap = RealOf(config, "final_logit_softcapping", 0);
    if (!cap) return cap.error();
    out.logit_softcap = static_cast<float>(*cap);
  }
  out.ropes = {{base.head_dim, false, {}}, {sizes->full_head_dim, false, {}}};
  out.caches = sizes->first_sharing();
  for (std::size_t i = 0; i < base.blocks; ++i) AddBlock(builder, out.blocks.emplace_back(), *sizes, i);
  return out;
}

}  // namespace marlin
