#include "files/gguf_families.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

namespace marlin {
namespace {
using nlohmann::json;

constexpr const char* kSliding = "sliding_attention";
constexpr const char* kFull = "full_attention";

// 0 says that there is no window.
void DropEmptyWindow(json& config) {
  const auto window = config.find("sliding_window");
  if (window != config.end() && *window == 0) config.erase(window);
}

// "layer_types" from the list of flags, where the file has one; a number is the period of full blocks.
Status ReadLayerTypes(const GgufConfigSource& source, json& config) {
  const auto flags = source.metadata.Numbers("attention.sliding_window_pattern", source.blocks);
  if (!flags) return flags.error();
  if (!*flags) return {};
  const bool is_period = std::ranges::any_of(**flags, [](double flag) { return flag > 1; });
  if (is_period) {
    config["sliding_window_pattern"] = static_cast<std::int64_t>((**flags)[0]);
    return {};
  }
  json types = json::array();
  for (const double flag : **flags) types.push_back(flag != 0 ? kSliding : kFull);
  config["layer_types"] = std::move(types);
  return {};
}

// Queries of Gemma are scaled by the size of a head, but for the 27B models by hidden size / heads; GGUF does not say
// (llama.cpp, by the number of blocks).
void SetScoreScale(const GgufConfigSource& source, std::size_t blocks_of_27b, json& config) {
  const bool is_27b = source.blocks == blocks_of_27b;
  config["query_pre_attn_scalar"] = is_27b ? source.hidden / source.heads : source.head_dim;
}

// The elements of a vector that says how rotary frequencies are changed. Errors: kInput (no vector of F32).
Result<std::vector<float>> Factors(const GgufConfigSource& source, const Tensor& tensor) {
  if (tensor.dtype != DType::kF32 || tensor.shape.size() != 1) {
    return source.metadata.Bad(fmt::format("tensor {} is not a vector of F32", Printable(tensor.name)));
  }
  std::vector<float> factors(tensor.elements());
  if (auto s = DecodeRows(tensor, 0, MatrixView<float>(factors.data(), 1, factors.size())); !s) return s.error();
  return factors;
}

// One of the three vectors of the file, by its GGUF name; null when it is absent.
const Tensor* FindFactors(const GgufConfigSource& source, std::string_view name) {
  const auto& tensors = source.metadata.gguf().tensors;
  const auto found = std::ranges::find(tensors, name, &Tensor::name);
  return found == tensors.end() ? nullptr : &*found;
}

json ListOf(const std::vector<float>& values) {
  json list = json::array();
  for (const float value : values) list.push_back(ShortestDecimal(static_cast<double>(value)));
  return list;
}

}  // namespace

const Tensor* GgufConfigSource::Find(std::string_view name) const {
  const auto found = std::ranges::find(tensors, name, &Tensor::name);
  return found == tensors.end() ? nullptr : &*found;
}

Status FinishLlama(const GgufConfigSource& source, json& config) {
  config["hidden_act"] = "silu";
  DropEmptyWindow(config);
  if (!config.contains("sliding_window")) return {};
  return source.metadata.Unsupported(fmt::format(
      "sliding-window attention is not supported in this architecture (the window is {}): the file does not "
      "say which blocks have it",
      config["sliding_window"].dump()));
}

// llama.cpp's yarn_log_multiplier is Hugging Face's mscale_all_dim; mscale is 1.
Status FinishMinistral3(const GgufConfigSource& source, json& config) {
  config["hidden_act"] = "silu";
  DropEmptyWindow(config);
  const auto growth = source.metadata.Number("attention.temperature_scale");
  if (!growth) return growth.error();
  const auto log_multiplier = source.metadata.Number("rope.scaling.yarn_log_multiplier");
  if (!log_multiplier) return log_multiplier.error();
  const bool is_yarn = config.contains("rope_scaling") && config["rope_scaling"]["rope_type"] == "yarn";
  if (*log_multiplier && **log_multiplier != 0 && is_yarn) {
    config["rope_scaling"]["mscale"] = 1;
    config["rope_scaling"]["mscale_all_dim"] = **log_multiplier;
  }
  if (!*growth || **growth == 0) return {};
  if (!is_yarn) return source.metadata.Bad("queries grow with their position, and the file names no context for that");
  config["rope_scaling"]["llama_4_scaling_beta"] = **growth;
  return {};
}

Status FinishGemma2(const GgufConfigSource& source, json& config) {
  constexpr std::size_t kBlocksOf27b = 46;
  config["hidden_activation"] = "gelu_pytorch_tanh";
  SetScoreScale(source, kBlocksOf27b, config);
  return ReadLayerTypes(source, config);
}

Status FinishGemma3(const GgufConfigSource& source, json& config) {
  constexpr std::size_t kBlocksOf27b = 62;
  config["hidden_activation"] = "gelu_pytorch_tanh";
  SetScoreScale(source, kBlocksOf27b, config);
  DropEmptyWindow(config);
  if (!config.contains("sliding_window")) {
    config["layer_types"] = std::vector<std::string>(source.blocks, kFull);
    return {};
  }
  return ReadLayerTypes(source, config);
}

namespace {

// Full blocks turn a share of their pairs: the factors of the others are huge.
Result<json> ProportionalRope(const GgufConfigSource& source, const json& theta) {
  json rope = {{"rope_type", "proportional"}, {"rope_theta", theta}};
  const Tensor* const tensor = FindFactors(source, "rope_freqs.weight");
  if (tensor == nullptr) return rope;
  const auto factors = Factors(source, *tensor);
  if (!factors) return factors.error();
  constexpr float kNever = 1e20f;
  const auto still = std::ranges::find_if(*factors, [](float factor) { return factor > kNever; });
  const bool fits = std::all_of(factors->begin(), still, [](float factor) { return factor == 1; }) &&
                    std::all_of(still, factors->end(), [](float factor) { return factor > kNever; });
  if (!fits) return source.metadata.Unsupported("tensor rope_freqs.weight is not Gemma 4's: want ones, then 1e30");
  rope["partial_rotary_factor"] = static_cast<double>(still - factors->begin()) / static_cast<double>(factors->size());
  return rope;
}

// A setting of windowed blocks and one of full blocks, from a number for each block.
struct ByType {
  double sliding = 0, full = 0;
};
Result<ByType> SplitByType(const GgufConfigSource& source, std::string_view suffix, const json& types,
                           double otherwise) {
  const auto numbers = source.metadata.Numbers(suffix, source.blocks);
  if (!numbers) return numbers.error();
  ByType out{otherwise, otherwise};
  for (const bool sliding : {true, false}) {
    double& to = sliding ? out.sliding : out.full;
    bool is_first = true;
    for (std::size_t i = 0; *numbers && i < source.blocks; ++i) {
      if ((types[i] == kSliding) != sliding) continue;
      const double number = (**numbers)[i];
      if (!is_first && number != to) {
        return source.metadata.Unsupported(fmt::format("{} differs among blocks of one type", suffix));
      }
      to = number;
      is_first = false;
    }
  }
  return out;
}

Status ReadGemma4Heads(const GgufConfigSource& source, json& config) {
  const auto kv_heads =
      SplitByType(source, "attention.head_count_kv", config["layer_types"], static_cast<double>(source.heads));
  if (!kv_heads) return kv_heads.error();
  config["num_key_value_heads"] = static_cast<std::int64_t>(kv_heads->sliding);
  config["num_global_key_value_heads"] = static_cast<std::int64_t>(kv_heads->full);
  const auto full = source.metadata.Positive("attention.key_length", static_cast<double>(source.head_dim));
  if (!full) return full.error();
  const auto sliding = source.metadata.Positive("attention.key_length_swa", *full);
  if (!sliding) return sliding.error();
  config["global_head_dim"] = static_cast<std::int64_t>(*full);
  config["head_dim"] = static_cast<std::int64_t>(*sliding);
  // Values have the size of keys, and windowed blocks turn whole heads.
  for (const auto& [suffix, want] : {std::pair{"attention.value_length", *full},
                                     {"attention.value_length_swa", *sliding},
                                     {"rope.dimension_count", *full},
                                     {"rope.dimension_count_swa", *sliding}}) {
    const auto got = source.metadata.Positive(suffix, want);
    if (!got) return got.error();
    if (*got != want) return source.metadata.Unsupported(fmt::format("{} is {}, want {}", suffix, *got, want));
  }
  return {};
}

// Whether a full block has keys that are its values too.
bool KeysAreValues(const GgufConfigSource& source, const json& types) {
  for (std::size_t i = 0; i < source.blocks; ++i) {
    const std::string stem = fmt::format("model.layers.{}.self_attn.", i);
    if (types[i] == kFull && source.Find(stem + "k_proj.weight") != nullptr) {
      return source.Find(stem + "v_proj.weight") == nullptr;
    }
  }
  return false;
}

}  // namespace

Status FinishGemma4(const GgufConfigSource& source, json& config) {
  config["hidden_activation"] = "gelu_pytorch_tanh";
  if (auto status = ReadLayerTypes(source, config); !status) return status;
  if (!config.contains("layer_types"))
    return source.metadata.Bad("metadata \"gemma4.attention.sliding_window_pattern\" is missing");
  const json& types = config["layer_types"];
  if (auto status = ReadGemma4Heads(source, config); !status) return status;
  config["attention_k_eq_v"] = KeysAreValues(source, types);
  const auto widths = source.metadata.Numbers("feed_forward_length", source.blocks);
  if (!widths) return widths.error();
  if (!*widths) return source.metadata.Bad("metadata \"gemma4.feed_forward_length\" is missing");
  config["intermediate_size"] = static_cast<std::int64_t>((**widths)[0]);
  config["use_double_wide_mlp"] = (**widths).back() != (**widths)[0];
  auto near = source.metadata.Number("rope.freq_base_swa");
  if (!near) return near.error();
  auto far = ProportionalRope(source, config.value("rope_theta", json(1e6)));
  if (!far) return far.error();
  config["rope_parameters"] = {{kSliding, {{"rope_type", "default"}, {"rope_theta", near->value_or(json(1e4))}}},
                               {kFull, *far}};
  config.erase("rope_theta");
  if (const Tensor* const table = source.Find("model.embed_tokens_per_layer.weight")) {
    config["vocab_size_per_layer_input"] = table->rows();
  }
  return {};
}

// The two lists of LongRoPE are tensors.
Status FinishPhi3(const GgufConfigSource& source, json& config) {
  config["hidden_act"] = "silu";
  DropEmptyWindow(config);
  const auto attention_factor = source.metadata.Number("rope.scaling.attn_factor");
  if (!attention_factor) return attention_factor.error();
  const auto context = source.metadata.Number("rope.scaling.original_context_length");
  if (!context) return context.error();
  const Tensor* const near = FindFactors(source, "rope_factors_short.weight");
  const Tensor* const far = FindFactors(source, "rope_factors_long.weight");
  config.erase("rope_scaling");
  if (near == nullptr && far == nullptr) return {};
  if (near == nullptr || far == nullptr || !*context) {
    return source.metadata.Bad(
        "LongRoPE wants the tensors rope_factors_short.weight and rope_factors_long.weight, and "
        "the original context");
  }
  const auto short_factors = Factors(source, *near);
  if (!short_factors) return short_factors.error();
  const auto long_factors = Factors(source, *far);
  if (!long_factors) return long_factors.error();
  config["rope_scaling"] = {{"rope_type", "longrope"},
                            {"short_factor", ListOf(*short_factors)},
                            {"long_factor", ListOf(*long_factors)},
                            {"original_max_position_embeddings", **context}};
  if (*attention_factor) config["rope_scaling"]["attention_factor"] = **attention_factor;
  return {};
}

// With windows it is OLMo 3, whose windowed blocks have the same theta and no scaling.
Status FinishOlmo2(const GgufConfigSource& source, json& config) {
  config["hidden_act"] = "silu";
  DropEmptyWindow(config);
  const auto near = source.metadata.Number("rope.freq_base_swa");
  if (!near) return near.error();
  if (!config.contains("sliding_window")) return {};
  config["architectures"] = json::array({"Olmo3ForCausalLM"});
  config["model_type"] = "olmo3";
  if (*near && **near != config["rope_theta"]) {
    json full = config.value("rope_scaling", json{{"rope_type", "default"}});
    full["rope_theta"] = config["rope_theta"];
    config["rope_parameters"] = {{kSliding, {{"rope_type", "default"}, {"rope_theta", **near}}}, {kFull, full}};
    config.erase("rope_theta");
    config.erase("rope_scaling");
  }
  return ReadLayerTypes(source, config);
}

Status FinishGlm4(const GgufConfigSource&, json& config) {
  config["hidden_act"] = "silu";
  DropEmptyWindow(config);
  return {};
}

// llama.cpp's converter leaves out the size of heads, and of the transformers class also the epsilon and the context:
// it writes other numbers there.
Status FinishChatGlm(const GgufConfigSource& source, json& config) {
  if (!config.contains("head_dim")) {
    return source.metadata.Unsupported(
        "architecture \"chatglm\" without chatglm.attention.key_length: llama.cpp's converter wrote this file and lost "
        "settings of the model; use the safetensors of the model");
  }
  return FinishGlm4(source, config);
}

Status FinishGpt2(const GgufConfigSource& source, json& config) {
  // Hugging Face's GPT-2 has no key for it: heads make up the hidden size.
  if (config.value("head_dim", json()) == source.hidden / source.heads) config.erase("head_dim");
  config["activation_function"] = "gelu_new";
  return {};
}

Status FinishGptNeox(const GgufConfigSource& source, json& config) {
  config["hidden_act"] = "gelu";
  const auto parallel = source.metadata.Number("use_parallel_residual");
  if (!parallel) return parallel.error();
  config["use_parallel_residual"] = !*parallel || **parallel != 0;
  const json share = config.value("partial_rotary_factor", json(1));
  config.erase("partial_rotary_factor");
  config["rotary_pct"] = share;
  config["attention_bias"] = true;
  return {};
}

}  // namespace marlin
