#include "model/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "io/gguf_to_hf.h"
#include "io/known_keys.h"
#include "model/config_fields.h"
#include "model/rope_config.h"

namespace marlin {
namespace {
using nlohmann::json;

// A family: how its configuration differs from the Llama convention that the fields' names come from.
struct Family {
  const char* architecture;
  const char* model_type;
  // Biases of q, k, v and of no other layer; else "attention_bias" is for q, k, v, o and "mlp_bias" for gate, up, down.
  bool qkv_bias_always;
  bool sliding_window_is_optional;  // "use_sliding_window" says whether "sliding_window" counts
};

constexpr std::array kFamilies = {
    Family{"LlamaForCausalLM", "llama", false, false},
    Family{"Qwen2ForCausalLM", "qwen2", true, true},
};

Result<const Family*> FindFamily(const json& config) {
  std::string known;
  for (const Family& family : kFamilies) known += fmt::format("{}{}", known.empty() ? "" : ", ", family.architecture);
  if (!config.is_object() || !HasKey(config, "architectures") || !config["architectures"].is_array() ||
      config["architectures"].size() != 1 || !config["architectures"][0].is_string()) {
    return BadConfig(fmt::format("\"architectures\" must name one of {}", known));
  }
  const auto name = config["architectures"][0].get<std::string>();
  for (const Family& family : kFamilies) {
    if (name == family.architecture) return &family;
  }
  return UnsupportedConfig(fmt::format("architecture {} is not supported; supported are {}", name, known));
}

Result<Activation> ParseActivation(const json& config) {
  if (!HasKey(config, "hidden_act")) return Activation::kSilu;
  if (!config["hidden_act"].is_string()) return BadConfig("\"hidden_act\" is not a string");
  const auto name = config["hidden_act"].get<std::string>();
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return Activation::kGeluTanh;
  return UnsupportedConfig(
      fmt::format("activation \"{}\" is not supported; supported are silu, gelu_pytorch_tanh", name));
}

Status ParseSizes(const json& config, ModelConfig& out) {
  struct Field {
    const char* key;
    std::size_t ModelConfig::*member;
    bool required;
  };
  constexpr std::array kFields = {Field{"vocab_size", &ModelConfig::vocab_size, true},
                                  Field{"hidden_size", &ModelConfig::hidden_size, true},
                                  Field{"num_hidden_layers", &ModelConfig::layers, true},
                                  Field{"num_attention_heads", &ModelConfig::heads, true},
                                  Field{"intermediate_size", &ModelConfig::intermediate_size, true},
                                  Field{"num_key_value_heads", &ModelConfig::kv_heads, false},
                                  Field{"head_dim", &ModelConfig::head_dim, false},
                                  Field{"max_position_embeddings", &ModelConfig::max_context, false}};
  for (const Field& field : kFields) {
    const auto value = SizeOf(config, field.key, field.required ? std::nullopt : std::optional<std::size_t>(0));
    if (!value) return value.error();
    out.*field.member = *value;
  }
  if (out.kv_heads == 0) out.kv_heads = out.heads;
  if (out.max_context == 0) out.max_context = 2048;
  if (out.head_dim == 0) {
    if (out.hidden_size % out.heads != 0) {
      return BadConfig(
          fmt::format("hidden_size {} is not a multiple of num_attention_heads {}", out.hidden_size, out.heads));
    }
    out.head_dim = out.hidden_size / out.heads;
  }
  if (out.heads % out.kv_heads != 0) {
    return BadConfig(
        fmt::format("num_attention_heads {} is not a multiple of num_key_value_heads {}", out.heads, out.kv_heads));
  }
  if (out.head_dim > kMaxHeadDim) {
    return UnsupportedConfig(fmt::format("head_dim {} is not supported; at most {}", out.head_dim, kMaxHeadDim));
  }
  if (out.head_dim % 2 != 0) return BadConfig(fmt::format("head_dim {} is odd", out.head_dim));
  return {};
}

// Blocks from "max_window_layers" on have the window; a value beyond the last block says that none has.
Status CheckWindow(const json& config, const Family& family, const ModelConfig& out) {
  const auto sliding = FlagOf(config, "use_sliding_window", !family.sliding_window_is_optional);
  if (!sliding) return sliding.error();
  if (!*sliding || !HasKey(config, "sliding_window")) return {};
  const json first = family.sliding_window_is_optional ? config.value("max_window_layers", json()) : json();
  if (first.is_number_integer() && first.get<std::int64_t>() >= static_cast<std::int64_t>(out.layers)) return {};
  return UnsupportedConfig("sliding-window attention is not supported (\"sliding_window\" is " +
                           ShortValue(config["sliding_window"]) + ")");
}

// The list that a GGUF file's biases are kept in where the two keys cannot say it.
Status ParseBiasList(const json& stems, ModelConfig& out) {
  out.biased = {};
  if (!stems.is_array()) return BadConfig(fmt::format("\"{}\" is not an array", kBiasesKey));
  for (const json& stem : stems) {
    const std::string name = stem.is_string() ? stem.get<std::string>() : "";
    const auto place = ParseLinearStem(name);
    if (!place || place->first >= out.layers) {
      return BadConfig(
          fmt::format("\"{}\" names {}, which is no linear layer of this model", kBiasesKey, ShortValue(stem)));
    }
    out.also_biased.insert(*place);
  }
  return {};
}

Status ParseBiases(const json& config, const Family& family, ModelConfig& out) {
  const auto attention_bias = FlagOf(config, "attention_bias", false);
  if (!attention_bias) return attention_bias.error();
  const auto mlp_bias = FlagOf(config, "mlp_bias", false);
  if (!mlp_bias) return mlp_bias.error();
  if (family.qkv_bias_always && *mlp_bias) {
    return UnsupportedConfig(fmt::format("\"mlp_bias\" is true, and {} has no such biases", family.architecture));
  }
  for (const Slot slot : {kQ, kK, kV}) out.biased[slot] = family.qkv_bias_always || *attention_bias;
  out.biased[kO] = !family.qkv_bias_always && *attention_bias;
  for (const Slot slot : {kGate, kUp, kDown}) out.biased[slot] = *mlp_bias;
  return HasKey(config, kBiasesKey) ? ParseBiasList(config[kBiasesKey], out) : Status();
}

Status ParseFlags(const json& config, const Family& family, ModelConfig& out) {
  const auto tied = FlagOf(config, "tie_word_embeddings", false);
  if (!tied) return tied.error();
  out.tied_head = *tied;
  if (HasKey(config, "model_type") && config["model_type"] != family.model_type) {
    return BadConfig(fmt::format("\"architectures\" names {}, and \"model_type\" is {}, want \"{}\"",
                                 family.architecture, ShortValue(config["model_type"]), family.model_type));
  }
  if (auto status = CheckWindow(config, family, out); !status) return status;
  return ParseBiases(config, family, out);
}

}  // namespace

Result<ModelConfig> ParseModelConfig(const json& config) {
  const auto family = FindFamily(config);
  if (!family) return family.error();
  ModelConfig out;
  out.architecture = (*family)->architecture;
  if (auto status = ParseSizes(config, out); !status) return status.error();
  if (auto status = ParseFlags(config, **family, out); !status) return status.error();
  const auto eps = RealOf(config, "rms_norm_eps", 1e-6);
  if (!eps) return eps.error();
  out.norm_eps = static_cast<float>(*eps);
  const auto activation = ParseActivation(config);
  if (!activation) return activation.error();
  out.activation = *activation;
  auto frequencies = RopeFrequencies(config, out.head_dim);
  if (!frequencies) return frequencies.error();
  out.rope_frequencies = std::move(*frequencies);
  // So that no count of weights or bytes overflows.
  constexpr double kMostParameters = 1e15;
  const auto real = [](std::size_t size) { return static_cast<double>(size); };
  double parameters = 2 * real(out.vocab_size) * real(out.hidden_size);
  for (const LinearSlot& slot : kLinearSlots) {
    parameters += real(out.layers) * real(slot.rows(out)) * real(slot.cols(out));
  }
  if (parameters > kMostParameters) {
    return BadConfig(
        fmt::format("the sizes describe {:.3g} parameters, more than any model; check \"hidden_size\", "
                    "\"intermediate_size\", \"num_hidden_layers\" and \"vocab_size\"",
                    parameters));
  }
  return out;
}

const LinearSlot kLinearSlots[kSlots] = {
    {"self_attn.q_proj", [](const ModelConfig& c) { return c.q_size(); },
     [](const ModelConfig& c) { return c.hidden_size; }},
    {"self_attn.k_proj", [](const ModelConfig& c) { return c.kv_size(); },
     [](const ModelConfig& c) { return c.hidden_size; }},
    {"self_attn.v_proj", [](const ModelConfig& c) { return c.kv_size(); },
     [](const ModelConfig& c) { return c.hidden_size; }},
    {"self_attn.o_proj", [](const ModelConfig& c) { return c.hidden_size; },
     [](const ModelConfig& c) { return c.q_size(); }},
    {"mlp.gate_proj", [](const ModelConfig& c) { return c.intermediate_size; },
     [](const ModelConfig& c) { return c.hidden_size; }},
    {"mlp.up_proj", [](const ModelConfig& c) { return c.intermediate_size; },
     [](const ModelConfig& c) { return c.hidden_size; }},
    {"mlp.down_proj", [](const ModelConfig& c) { return c.hidden_size; },
     [](const ModelConfig& c) { return c.intermediate_size; }},
};

std::string LinearStem(std::size_t layer, Slot slot) {
  return fmt::format("model.layers.{}.{}", layer, kLinearSlots[slot].name);
}

std::optional<std::pair<std::size_t, Slot>> ParseLinearStem(std::string_view stem) {
  constexpr std::string_view kStart = "model.layers.";
  if (!stem.starts_with(kStart)) return {};
  std::size_t layer = 0;
  const char* const end = stem.data() + stem.size();
  const auto number = std::from_chars(stem.data() + kStart.size(), end, layer);
  if (number.ec != std::errc()) return {};
  for (std::size_t s = 0; s < kSlots; ++s) {
    if (stem == LinearStem(layer, static_cast<Slot>(s))) return std::pair(layer, static_cast<Slot>(s));
  }
  return {};
}

std::size_t ModelConfig::CountBiases() const {
  return layers * static_cast<std::size_t>(std::ranges::count(biased, true)) + also_biased.size();
}

std::string NormName(std::size_t layer, Norm norm) {
  return fmt::format("model.layers.{}.{}_layernorm.weight", layer, norm == kAttentionNorm ? "input" : "post_attention");
}

std::size_t CountParameters(const ModelConfig& config) {
  std::size_t per_layer = 2 * config.hidden_size;  // two norms
  for (std::size_t s = 0; s < kSlots; ++s) {
    const std::size_t rows = kLinearSlots[s].rows(config);
    per_layer += rows * (kLinearSlots[s].cols(config) + (config.biased[s] ? 1 : 0));
  }
  std::size_t parameters = config.layers * per_layer + config.hidden_size;
  for (const auto& [layer, slot] : config.also_biased) parameters += kLinearSlots[slot].rows(config);
  return parameters + config.vocab_size * config.hidden_size * (config.tied_head ? 1 : 2);
}

Status CheckContext(const ModelConfig& config, std::size_t ctx) {
  if (ctx <= config.max_context) return {};
  return Error{ErrorCode::kUsage,
               fmt::format("windows of {} tokens exceed the {} that the model was trained for; take a "
                           "smaller --ctx",
                           ctx, config.max_context)};
}

}  // namespace marlin
