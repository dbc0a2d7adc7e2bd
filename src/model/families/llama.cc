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
  bool qkv_biases;         // always; otherwise "attention_bias" says whether q, k, v and o have them
  bool feed_forward_bias;  // "mlp_bias" may ask for them
  HeadNorms head_norms;
  bool has_window;      // "use_sliding_window" says whether "sliding_window" counts
  std::size_t context;  // positions, where the configuration does not say
};
constexpr Variant kLlama = {"LlamaForCausalLM", false, true, HeadNorms::kNone, false, 2048};
constexpr Variant kQwen2 = {"Qwen2ForCausalLM", true, false, HeadNorms::kNone, true, 32768};
constexpr Variant kQwen3 = {"Qwen3ForCausalLM", false, false, HeadNorms::kEach, true, 32768};

Status ParseBiases(const Config& config, const Variant& variant, DecoderStyle& style) {
  bool attention = false, feed_forward = false;
  const Status read = ReadFields(config, {{"attention_bias", &attention}, {"mlp_bias", &feed_forward}});
  if (!read) return read.error();
  if (feed_forward && !variant.feed_forward_bias) {
    return UnsupportedConfig(fmt::format("\"mlp_bias\" is true, and {} has no such biases", variant.architecture));
  }
  if (config.Has(kBiasesKey)) return {};  // those of the list instead
  style.attention_biases = variant.qkv_biases ? AttentionBiases{true, false} : AttentionBiases{attention, attention};
  style.feed_forward_bias = feed_forward;
  return {};
}

struct Windows {
  std::size_t size = 0;
  std::vector<std::string> types;
};

// Blocks from "max_window_layers" on have the window, unless "layer_types" says which.
Result<Windows> ParseWindows(const Config& config, std::size_t blocks) {
  Windows out;
  std::size_t first = 28;
  bool used = false;
  const Status read = ReadFields(
      config,
      {{"use_sliding_window", &used}, {"sliding_window", &out.size, true}, {"max_window_layers", &first, true, true}});
  if (!read) return read.error();
  const bool any = used && out.size != 0;
  auto types = LayerTypes(config, blocks, {kSlidingLayer, kFullLayer},
                          [&](std::size_t block) { return any && block >= first ? kSlidingLayer : kFullLayer; });
  if (!types) return types.error();
  out.types = *std::move(types);
  if (!any && std::ranges::find(out.types, kSlidingLayer) != out.types.end()) {
    return BadConfig(
        "\"layer_types\" names sliding_attention, and \"use_sliding_window\" or \"sliding_window\" says that "
        "there is no window");
  }
  return out;
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

Result<Description> DescribeAs(const Config& config, const Variant& variant) {
  DecoderStyle style;
  style.head_norms = variant.head_norms;
  if (auto status = ParseBiases(config, variant, style); !status) return status.error();
  Sizes defaults;
  defaults.context = variant.context;
  const auto sizes = ParseSizes(config, defaults);
  if (!sizes) return sizes.error();
  Windows windows;
  if (variant.has_window) {
    if (auto status = ParseWindows(config, sizes->blocks).MoveTo(windows); !status) return status.error();
  }
  if (auto status = ParseActivation(config).MoveTo(style.activation); !status) return status.error();
  auto rope = ParseRope(config, {.head_dim = sizes->head_dim, .context = sizes->context});
  if (!rope) return rope.error();
  style.ropes = {*std::move(rope)};
  style.adapt = [&](std::size_t block, Attention& attention) {
    if (variant.has_window && windows.types[block] == kSlidingLayer) attention.window = windows.size;
  };
  Description out = DescribeDecoder(*sizes, style);
  if (config.Has(kBiasesKey)) {
    if (auto status = AddListedBiases(config[kBiasesKey], out); !status) return status.error();
  }
  return out;
}

}  // namespace

Result<Description> DescribeLlama(const Config& config) { return DescribeAs(config, kLlama); }
Result<Description> DescribeQwen2(const Config& config) { return DescribeAs(config, kQwen2); }
Result<Description> DescribeQwen3(const Config& config) { return DescribeAs(config, kQwen3); }

}  // namespace marlin
