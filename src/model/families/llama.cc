// Llama, and the families that differ from it in biases, windows, and norms of queries and keys: Qwen2, Qwen3.
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "files/gguf_to_hf.h"
#include "files/known_keys.h"
#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"
#include "model/rope_config.h"

namespace marlin {
namespace {
using nlohmann::json;

struct Variant {
  const char* architecture;
  bool qkv_biases;          // always; otherwise "attention_bias" says whether q, k, v and o have them
  bool feed_forward_bias;   // "mlp_bias" may ask for them
  bool head_norms;          // of every query and key
  bool window_is_optional;  // "use_sliding_window" says whether "sliding_window" counts
};
constexpr Variant kLlama = {"LlamaForCausalLM", false, true, false, false};
constexpr Variant kQwen2 = {"Qwen2ForCausalLM", true, false, false, true};
constexpr Variant kQwen3 = {"Qwen3ForCausalLM", false, false, true, true};

struct Biases {
  AttentionBiases attention;
  bool feed_forward = false;
};

Result<Biases> ParseBiases(const json& config, const Variant& variant) {
  bool attention = false, feed_forward = false;
  const Status read = ReadFields(config, {{"attention_bias", &attention}, {"mlp_bias", &feed_forward}});
  if (!read) return read.error();
  if (feed_forward && !variant.feed_forward_bias) {
    return UnsupportedConfig(fmt::format("\"mlp_bias\" is true, and {} has no such biases", variant.architecture));
  }
  if (HasKey(config, kBiasesKey)) return Biases{};  // those of the list instead
  if (variant.qkv_biases) return Biases{{true, false}, feed_forward};
  return Biases{{attention, attention}, feed_forward};
}

// Blocks from "max_window_layers" on have the window; a value beyond the last block says that none has.
Status CheckWindow(const json& config, const Variant& variant, std::size_t blocks) {
  const auto sliding = FlagOf(config, "use_sliding_window", !variant.window_is_optional);
  if (!sliding) return sliding.error();
  if (!*sliding || !HasKey(config, "sliding_window")) return {};
  const json first = variant.window_is_optional ? config.value("max_window_layers", json()) : json();
  if (first.is_number_integer() && first.get<std::int64_t>() >= static_cast<std::int64_t>(blocks)) return {};
  return UnsupportedConfig("sliding-window attention is not supported (\"sliding_window\" is " +
                           ShortValue(config["sliding_window"]) + ")");
}

// The list that a GGUF file's biases are kept in where the two keys cannot say it.
Status AddListedBiases(const json& stems, Description& out) {
  if (!stems.is_array()) return BadConfig(fmt::format("\"{}\" is not an array", kBiasesKey));
  TensorList tensors(out);
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
    tensors.AddBias(*found->second);
  }
  return {};
}

Result<Description> DescribeAs(const json& config, const Variant& variant) {
  const auto biases = ParseBiases(config, variant);
  if (!biases) return biases.error();
  const auto sizes = ParseSizes(config);
  if (!sizes) return sizes.error();
  if (auto status = CheckWindow(config, variant, sizes->blocks); !status) return status.error();
  const auto activation = ParseActivation(config);
  if (!activation) return activation.error();
  auto frequencies = RopeFrequencies(config, sizes->head_dim);
  if (!frequencies) return frequencies.error();
  const auto mixer = [&](const BlockBuilder& to) {
    Attention attention = AddAttention(to.Under(".self_attn"), *sizes, biases->attention);
    if (variant.head_norms) {
      attention.q_norm = to.AddNorm(".self_attn.q_norm", sizes->head_dim, sizes->norm);
      attention.k_norm = to.AddNorm(".self_attn.k_norm", sizes->head_dim, sizes->norm);
    }
    return attention;
  };
  const auto feed_forward = [&](const BlockBuilder& to) {
    FeedForward part = AddGated(to.Under(".mlp"), sizes->hidden, sizes->intermediate, biases->feed_forward);
    part.activation = *activation;
    return part;
  };
  const Rope rope{sizes->head_dim, false, *std::move(frequencies)};
  Description out = DescribeBlocks(*sizes, {rope}, mixer, feed_forward);
  if (HasKey(config, kBiasesKey)) {
    if (auto status = AddListedBiases(config[kBiasesKey], out); !status) return status.error();
  }
  return out;
}

}  // namespace

Result<Description> DescribeLlama(const json& config) { return DescribeAs(config, kLlama); }
Result<Description> DescribeQwen2(const json& config) { return DescribeAs(config, kQwen2); }
Result<Description> DescribeQwen3(const json& config) { return DescribeAs(config, kQwen3); }

}  // namespace marlin
