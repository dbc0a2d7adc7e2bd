// Gemma 4, the dense text models: with embeddings for each block, whose last blocks read the keys and values of earlier
// ones (E2B, E4B), and with keys that are also values (31B). The mixture of experts (26B) is not described.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"
#include "model/rope_config.h"

namespace marlin {
namespace {
using nlohmann::json;

struct GemmaSizes {
  Sizes base;
  std::vector<std::string> types;
  std::size_t full_head_dim = 0, full_kv_heads = 0;
  bool keys_are_values = false;  // of full blocks
  bool biased = false;
  std::size_t window = 512;
  std::size_t sharing = 0;  // blocks at the end that have no keys and values of their own
  bool wide_sharing = false;
  std::size_t token_vocab = 262144, token_width = 256;  // a width of 0: none
  float softcap = 0;                                    // none
  Activation activation = Activation::kGeluTanh;

  std::size_t first_sharing() const { return base.blocks - sharing; }
  bool IsFull(std::size_t block) const { return types[block] == kFullLayer; }
  std::size_t HeadDim(std::size_t block) const { return IsFull(block) ? full_head_dim : base.head_dim; }
  std::size_t KvHeads(std::size_t block) const { return IsFull(block) ? full_kv_heads : base.kv_heads; }
  // Of the last block of the same type that has its own.
  std::size_t CacheOf(std::size_t block) const {
    if (block < first_sharing()) return block;
    std::size_t from = first_sharing() - 1;
    while (from > 0 && types[from] != types[block]) --from;
    return from;
  }
};

// A size of full blocks: published files have a key for all of them, transformers writes it for each block.
Result<std::size_t> OfFullBlocks(const Config& config, const GemmaSizes& sizes, const char* key, const char* in_block,
                                 std::size_t otherwise) {
  if (config.Has(key)) return SizeOf(config, key);
  if (!config.Has("per_layer_config")) return otherwise;
  const json& blocks = config["per_layer_config"];
  for (std::size_t i = 0; i < sizes.base.blocks; ++i) {
    const auto block = blocks.is_object() ? blocks.find(std::to_string(i)) : blocks.end();
    if (!sizes.IsFull(i) || block == blocks.end() || !block->is_object()) continue;
    return SizeOf(Config(*block), in_block, otherwise);
  }
  return otherwise;
}

Status ParseFullBlocks(const Config& config, GemmaSizes& out) {
  constexpr std::size_t kUsualHeadDim = 512;
  if (auto status = OfFullBlocks(config, out, "global_head_dim", "head_dim", kUsualHeadDim).MoveTo(out.full_head_dim);
      !status)
    return status;
  out.full_kv_heads = out.base.kv_heads;
  if (out.keys_are_values) {
    if (auto status = OfFullBlocks(config, out, "num_global_key_value_heads", "num_key_value_heads", out.base.kv_heads)
                          .MoveTo(out.full_kv_heads);
        !status)
      return status;
  } else {
    config.Has("num_global_key_value_heads");  // has no effect then
  }
  Sizes full = out.base;
  full.head_dim = out.full_head_dim;
  full.kv_heads = out.full_kv_heads;
  return CheckSizes(full);
}

Result<GemmaSizes> ParseGemma4(const Config& config) {
  const auto experts = FlagOf(config, "enable_moe_block", false);
  if (!experts) return experts.error();
  if (*experts) return UnsupportedConfig("\"enable_moe_block\" is true: mixtures of experts cannot be run yet");
  for (const char* key : {"num_experts", "top_k_experts", "moe_intermediate_size"}) config.Has(key);
  GemmaSizes out;
  const Sizes defaults = {262144, 2304, 30, 8, 4, 256, 9216, 131072, {NormKind::kRms, {}, {}, false, 1e-6f}, true};
  if (auto status = ParseSizes(config, defaults).MoveTo(out.base); !status) return status.error();
  const Status read = ReadFields(config, {{"use_double_wide_mlp", &out.wide_sharing},
                                          {"attention_k_eq_v", &out.keys_are_values},
                                          {"attention_bias", &out.biased},
                                          {"sliding_window", &out.window, true},
                                          {"vocab_size_per_layer_input", &out.token_vocab, true, true},
                                          {"hidden_size_per_layer_input", &out.token_width, true, true},
                                          {"num_kv_shared_layers", &out.sharing, true, true},
                                          {"final_logit_softcapping", &out.softcap}});
  if (!read) return read.error();
  if (auto status =
          LayerTypes(config, out.base.blocks, {kSlidingLayer, kFullLayer}, EveryLayerIsFull(6)).MoveTo(out.types);
      !status)
    return status.error();
  out.types.back() = kFullLayer;  // as Hugging Face does
  if (auto status = ParseFullBlocks(config, out); !status) return status.error();
  if (auto status = ParseActivation(config, "hidden_activation", "gelu_pytorch_tanh").MoveTo(out.activation); !status)
    return status.error();
  if (out.sharing >= out.base.blocks) return BadConfig("\"num_kv_shared_layers\" leaves no block with keys and values");
  for (std::size_t i = out.first_sharing(); i < out.base.blocks; ++i) {
    if (out.types[out.CacheOf(i)] == out.types[i]) continue;
    return BadConfig(fmt::format("block {} reads the keys and values of an earlier block of type {}, and there is none",
                                 i, out.types[i]));
  }
  return out;
}

Result<std::vector<Rope>> ParseRopes(const Config& config, const GemmaSizes& sizes) {
  std::vector<Rope> ropes;
  // Where the configuration is silent, a quarter of the pairs of full blocks turns (rope type "proportional").
  static const json kDefaults = {
      {"rope_parameters",
       {{kSlidingLayer, {{"rope_type", "default"}, {"rope_theta", 1e4}}},
        {kFullLayer, {{"rope_type", "proportional"}, {"partial_rotary_factor", 0.25}, {"rope_theta", 1e6}}}}}};
  const Config defaults(kDefaults);
  const Config& source = config.Has("rope_parameters") ? config : defaults;
  for (const char* type : {kSlidingLayer, kFullLayer}) {
    auto rope = ParseRope(source, {.head_dim = type == kFullLayer ? sizes.full_head_dim : sizes.base.head_dim,
                                   .context = sizes.base.context,
                                   .may_be_partial = true,
                                   .layer_type = type});
    if (!rope) return rope.error();
    ropes.push_back(*std::move(rope));
  }
  return ropes;
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
  out.kv_heads = s.KvHeads(to.index);
  const std::size_t q_size = out.heads * out.head_dim;
  const std::size_t kv_size = out.kv_heads * out.head_dim;
  out.q = to.Linear(".q_proj", q_size, hidden, s.biased);
  out.q_norm = to.AddNorm(".q_norm", out.head_dim, s.base.norm);
  if (out.cache == to.index) {
    out.k = to.Linear(".k_proj", kv_size, hidden, s.biased);
    const bool has_v = !s.keys_are_values || !s.IsFull(to.index);
    if (has_v) out.v = to.Linear(".v_proj", kv_size, hidden, s.biased);
    out.k_norm = to.AddNorm(".k_norm", out.head_dim, s.base.norm);
    to.block.norms.push_back(s.base.norm);
    out.v_norm = to.block.norms.size() - 1;
  }
  out.o = to.Linear(".o_proj", hidden, q_size, s.biased);
  AddAttentionInputs(to, out, {});
  return out;
}

TokenInput AddTokenInput(const BlockBuilder& to, const GemmaSizes& s) {
  TokenInput input;
  input.activation = s.activation;
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
  part.activation = s.activation;
  block.feed_forward = part;
  if (s.token_width != 0) block.token_input = AddTokenInput(to, s);
  block.scalar = to.Values(".layer_scalar", {1});
}

}  // namespace

Result<Description> DescribeGemma4(const Config& config) {
  const auto sizes = ParseGemma4(config);
  if (!sizes) return sizes.error();
  auto ropes = ParseRopes(config, *sizes);
  if (!ropes) return ropes.error();
  const Sizes& base = sizes->base;
  Description out;
  TensorList tensors(out);
  AddAround(out, tensors, base);
  out.embedding_scale = std::sqrt(static_cast<float>(base.hidden));
  if (const std::size_t width = base.blocks * sizes->token_width; width != 0) {
    const PartsBuilder around{tensors, out, ""};
    out.token_embedding = around.Linear("model.embed_tokens_per_layer", sizes->token_vocab, width);
    out.token_projection = around.Linear("model.per_layer_model_projection", width, base.hidden);
    out.token_norm = around.AddNorm("model.per_layer_projection_norm", sizes->token_width, base.norm);
  }
  out.logit_softcap = sizes->softcap;
  out.ropes = *std::move(ropes);
  out.caches = sizes->first_sharing();
  for (std::size_t i = sizes->first_sharing(); i < base.blocks; ++i) {
    for (const char* name : {"k_proj", "v_proj", "k_norm"}) {
      out.unused.insert(fmt::format("model.layers.{}.self_attn.{}.weight", i, name));
    }
  }
  for (std::size_t i = 0; i < base.blocks; ++i) {
    Block& block = out.blocks.emplace_back();
    AddBlock({{tensors, block, fmt::format("model.layers.{}", i)}, block, i}, *sizes);
  }
  return out;
}

}  // namespace marlin
