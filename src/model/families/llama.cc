// Llama, and the families that differ from it in biases, windows, and norms of queries and keys: Qwen2, Qwen3.
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "io/gguf_to_hf.h"
#include "io/known_keys.h"
#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"
#include "model/rope_config.h"

namespace marlin {
namespace {
using nlohmann::json;

struct Variant {
  AttentionBiases attention;
  bool feed_forward_bias = false;
  bool head_norms = false;                 // of every query and key
  bool sliding_window_is_optional = true;  // "use_sliding_window" says whether "sliding_window" counts
};

// Blocks from "max_window_layers" on have the window; a value beyond the last block says that none has.
Status CheckWindow(const json& config, const Variant& variant, std::size_t blocks) {
  const auto sliding = FlagOf(config, "use_sliding_window", !variant.sliding_window_is_optional);
  if (!sliding) return sliding.error();
  if (!*sliding || !HasKey(config, "sliding_window")) return {};
  const json first = variant.sliding_window_is_optional ? config.value("max_window_layers", json()) : json();
  if (first.is_number_integer() && first.get<std::int64_t>() >= static_cast<std::int64_t>(blocks)) return {};
  return UnsupportedConfig("sliding-window attention is not supported (\"sliding_window\" is " +
                           ShortValue(config["sliding_window"]) + ")");
}

// The list that a GGUF file's biases are kept in where the two keys cannot say it.
Status AddListedBiases(const json& stems, DescriptionBuilder& builder, Description& out) {
  if (!stems.is_array()) return BadConfig(fmt::format("\"{}\" is not an array", kBiasesKey));
  std::map<std::string, Matrix*> matrices;
  for (Block& block : out.blocks) {
    for (Matrix& matrix : block.matrices) matrices[matrix.name] = &matrix;
  }
  for (const json& stem : stems) {
    const auto found = matrices.find(stem.is_string() ? stem.get<std::string>() : "");
    if (found == matrices.end()) {
      return BadConfig(
          fmt::format("\"{}\" names {}, which is no linear layer of this model", kBiasesKey, ShortValue(stem)));
    }
    builder.AddBias(*found->second);
  }
  return {};
}

Result<Description> DescribeAs(const json& config, Variant variant) {
  const auto sizes = ParseSizes(config);
  if (!sizes) return sizes.error();
  if (auto status = CheckWindow(config, variant, sizes->blocks); !status) return status.error();
  const auto activation = ParseActivation(config);
  if (!activation) return activation.error();
  auto frequencies = RopeFrequencies(config, sizes->head_dim);
  if (!frequencies) return frequencies.error();
  const bool listed = HasKey(config, kBiasesKey);
  if (listed) {
    variant.attention = {};
    variant.feed_forward_bias = false;
  }
  Description out;
  DescriptionBuilder builder(out);
  const Norm norm{NormKind::kRms, {}, {}, false, sizes->norm_eps};
  AddAround(out, builder, *sizes, norm);
  out.ropes.push_back({sizes->head_dim, false, *std::move(frequencies)});
  out.caches = sizes->blocks;
  for (std::size_t i = 0; i < sizes->blocks; ++i) {
    const std::string stem = fmt::format("model.layers.{}", i);
    Block& block = out.blocks.emplace_back();
    block.mixer_norm = builder.AddNorm(block, stem + ".input_layernorm", sizes->hidden, norm);
    Attention attention = AddAttention(builder, block, stem + ".self_attn", *sizes, variant.attention);
    if (variant.head_norms) {
      attention.q_norm = builder.AddNorm(block, stem + ".self_attn.q_norm", sizes->head_dim, norm);
      attention.k_norm = builder.AddNorm(block, stem + ".self_attn.k_norm", sizes->head_dim, norm);
    }
    attention.rope = 0;
    attention.cache = i;
    block.mixer = attention;
    block.feed_forward_norm = builder.AddNorm(block, stem + ".post_attention_layernorm", sizes->hidden, norm);
    FeedForward part = AddGated(builder, block, stem + ".mlp", sizes->hidden, sizes->intermediate,
                                variant.feed_forward_bias, OfNorm(block.feed_forward_norm));
    part.activation = *activation;
    block.feed_forward = part;
  }
  if (listed) {
    if (auto status = AddListedBiases(config[kBiasesKey], builder, out); !status) return status.error();
  }
  return out;
}

}  // namespace

Result<Description> DescribeLlama(const json& config) {
  const auto attention_bias = FlagOf(config, "attention_bias", false);
  if (!attention_bias) return attention_bias.error();
  const auto mlp_bias = FlagOf(config, "mlp_bias", false);
  if (!mlp_bias) return mlp_bias.error();
  return DescribeAs(config, {{*attention_bias, *attention_bias}, *mlp_bias, false, false});
}

Result<Description> DescribeQwen2(const json& config) {
  const auto mlp_bias = FlagOf(config, "mlp_bias", false);
  if (!mlp_bias) return mlp_bias.error();
  if (*mlp_bias) return UnsupportedConfig("\"mlp_bias\" is true, and Qwen2ForCausalLM has no such biases");
  return DescribeAs(config, {{true, false}, false, false, true});
}

Result<Description> DescribeQwen3(const json& config) {
  const auto bias = FlagOf(config, "attention_bias", false);
  if (!bias) return bias.error();
  const auto mlp_bias = FlagOf(config, "mlp_bias", false);
  if (!mlp_bias) return mlp_bias.error();
  if (*mlp_bias) return UnsupportedConfig("\"mlp_bias\" is true, and Qwen3ForCausalLM has no such biases");
  return DescribeAs(config, {{*bias, *bias}, false, true, true});
}

}  // namespace marlin
