#include "model/config.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>

namespace marlin {
namespace {
using nlohmann::json;

// A family: how its configuration differs from the Llama convention that the fields' names come from.
struct Family {
  const char* architecture;
  bool qkv_bias_always;             // else the key "attention_bias", which then also gives the output its bias
  bool sliding_window_is_optional;  // "use_sliding_window" says whether "sliding_window" counts
};

constexpr std::array kFamilies = {
    Family{"LlamaForCausalLM", false, false},
    Family{"Qwen2ForCausalLM", true, true},
};

Error Bad(const std::string& what) { return {ErrorCode::kInput, "config.json: " + what}; }
Error Unsupported(const std::string& what) { return {ErrorCode::kUnsupported, "config.json: " + what}; }

bool Has(const json& config, const char* key) { return config.contains(key) && !config[key].is_null(); }

Result<std::size_t> Size(const json& config, const char* key, std::optional<std::size_t> otherwise = {}) {
  if (!Has(config, key)) {
    if (otherwise) return *otherwise;
    return Bad(fmt::format("\"{}\" is missing", key));
  }
  constexpr std::int64_t kLimit = std::int64_t{1} << 31;
  const json& value = config[key];
  if (!value.is_number_integer() || value.get<std::int64_t>() <= 0 || value.get<std::int64_t>() >= kLimit) {
    return Bad(fmt::format("\"{}\" is {}, want a positive integer", key, value.dump()));
  }
  return value.get<std::size_t>();
}

Result<double> Real(const json& config, const char* key, double otherwise) {
  if (!Has(config, key)) return otherwise;
  const json& value = config[key];
  // Models compute with 32-bit numbers: what is 0 or infinite there means nothing.
  constexpr double kLeast = std::numeric_limits<float>::min();
  constexpr double kMost = std::numeric_limits<float>::max();
  if (!value.is_number() || !(value.get<double>() >= kLeast && value.get<double>() <= kMost)) {
    return Bad(fmt::format("\"{}\" is {}, want a positive number of 32 bits", key, value.dump()));
  }
  return value.get<double>();
}

Result<bool> Flag(const json& config, const char* key, bool otherwise) {
  if (!Has(config, key)) return otherwise;
  if (!config[key].is_boolean()) return Bad(fmt::format("\"{}\" is {}, want true or false", key, config[key].dump()));
  return config[key].get<bool>();
}

Result<const Family*> FindFamily(const json& config) {
  std::string known;
  for (const Family& family : kFamilies) known += fmt::format("{}{}", known.empty() ? "" : ", ", family.architecture);
  if (!config.is_object() || !Has(config, "architectures") || !config["architectures"].is_array() ||
      config["architectures"].size() != 1 || !config["architectures"][0].is_string()) {
    return Bad(fmt::format("\"architectures\" must name one of {}", known));
  }
  const auto name = config["architectures"][0].get<std::string>();
  for (const Family& family : kFamilies) {
    if (name == family.architecture) return &family;
  }
  return Unsupported(fmt::format("architecture {} is not supported; supported are {}", name, known));
}

// Llama 3.1's scaling: low frequencies are divided by `factor`, high ones kept, the middle blended
// (Hugging Face transformers, rope type "llama3").
Status ScaleLlama3(const json& scaling, std::vector<float>& frequencies) {
  const auto factor = Real(scaling, "factor", 8);
  const auto low = Real(scaling, "low_freq_factor", 1);
  const auto high = Real(scaling, "high_freq_factor", 4);
  const auto context = Real(scaling, "original_max_position_embeddings", 8192);
  for (const auto* value : {&factor, &low, &high, &context}) {
    if (!*value) return value->error();
  }
  if (*high <= *low) return Bad("rope_scaling: high_freq_factor must exceed low_freq_factor");
  for (float& frequency : frequencies) {
    const double wavelength = 2 * std::numbers::pi / frequency;
    if (wavelength < *context / *high) continue;
    double blend = (*context / wavelength - *low) / (*high - *low);
    if (wavelength > *context / *low) blend = 0;
    frequency = static_cast<float>((1 - blend) * frequency / *factor + blend * frequency);
  }
  return {};
}

// fp32 throughout, as models are trained: frequency i of d/2 is theta^(-2i/d).
Result<std::vector<float>> RopeFrequencies(const json& config, std::size_t head_dim) {
  // Newer configurations keep theta inside "rope_parameters", together with the scaling.
  const char* key = Has(config, "rope_parameters") ? "rope_parameters" : "rope_scaling";
  const json scaling = Has(config, key) ? config[key] : json::object();
  if (!scaling.is_object()) return Bad(fmt::format("\"{}\" is not an object", key));
  const auto outer = Real(config, "rope_theta", 10000);
  if (!outer) return outer.error();
  const auto theta = Real(scaling, "rope_theta", *outer);
  if (!theta) return theta.error();
  const auto partial = Real(config, "partial_rotary_factor", 1);
  if (!partial) return partial.error();
  if (*partial != 1) return Unsupported("\"partial_rotary_factor\" other than 1 is not supported");

  std::vector<float> frequencies(head_dim / 2);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    frequencies[i] = 1.0f / std::pow(static_cast<float>(*theta), exponent);
  }
  std::string type = "default";
  for (const char* name : {"type", "rope_type"}) {
    if (!Has(scaling, name)) continue;
    if (!scaling[name].is_string()) return Bad(fmt::format("{}: \"{}\" is not a string", key, name));
    type = scaling[name].get<std::string>();
  }
  if (type == "linear") {
    const auto factor = Real(scaling, "factor", 1);
    if (!factor) return factor.error();
    for (float& frequency : frequencies) frequency /= static_cast<float>(*factor);
  } else if (type == "llama3") {
    if (auto status = ScaleLlama3(scaling, frequencies); !status) return status.error();
  } else if (type != "default") {
    return Unsupported(
        fmt::format("rope scaling \"{}\" is not supported; supported are default, linear, llama3", type));
  }
  for (const float frequency : frequencies) {
    if (!(frequency > 0 && std::isfinite(frequency))) {
      return Bad(
          fmt::format("{}: a rotary frequency becomes {}, want a positive number; check \"rope_theta\" and "
                      "\"factor\"",
                      key, frequency));
    }
  }
  return frequencies;
}

Result<Activation> ParseActivation(const json& config) {
  if (!Has(config, "hidden_act")) return Activation::kSilu;
  if (!config["hidden_act"].is_string()) return Bad("\"hidden_act\" is not a string");
  const auto name = config["hidden_act"].get<std::string>();
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return Activation::kGeluTanh;
  return Unsupported(fmt::format("activation \"{}\" is not supported; supported are silu, gelu_pytorch_tanh", name));
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
    const auto value = Size(config, field.key, field.required ? std::nullopt : std::optional<std::size_t>(0));
    if (!value) return value.error();
    out.*field.member = *value;
  }
  if (out.kv_heads == 0) out.kv_heads = out.heads;
  if (out.max_context == 0) out.max_context = 2048;
  if (out.head_dim == 0) {
    if (out.hidden_size % out.heads != 0) {
      return Bad(fmt::format("hidden_size {} is not a multiple of num_attention_heads {}", out.hidden_size, out.heads));
    }
    out.head_dim = out.hidden_size / out.heads;
  }
  if (out.heads % out.kv_heads != 0) {
    return Bad(
        fmt::format("num_attention_heads {} is not a multiple of num_key_value_heads {}", out.heads, out.kv_heads));
  }
  if (out.head_dim > kMaxHeadDim) {
    return Unsupported(fmt::format("head_dim {} is not supported; at most {}", out.head_dim, kMaxHeadDim));
  }
  if (out.head_dim % 2 != 0) return Bad(fmt::format("head_dim {} is odd", out.head_dim));
  return {};
}

Status ParseFlags(const json& config, const Family& family, ModelConfig& out) {
  const auto attention_bias = Flag(config, "attention_bias", false);
  const auto mlp_bias = Flag(config, "mlp_bias", false);
  const auto tied = Flag(config, "tie_word_embeddings", false);
  const auto sliding = Flag(config, "use_sliding_window", !family.sliding_window_is_optional);
  for (const auto* flag : {&attention_bias, &mlp_bias, &tied, &sliding}) {
    if (!*flag) return flag->error();
  }
  if (*sliding && Has(config, "sliding_window")) return Unsupported("sliding-window attention is not supported");
  out.qkv_bias = family.qkv_bias_always || *attention_bias;
  out.output_bias = !family.qkv_bias_always && *attention_bias;
  out.mlp_bias = *mlp_bias;
  out.tied_head = *tied;
  return {};
}

}  // namespace

Result<ModelConfig> ParseModelConfig(const json& config) {
  const auto family = FindFamily(config);
  if (!family) return family.error();
  ModelConfig out;
  out.architecture = (*family)->architecture;
  if (auto status = ParseSizes(config, out); !status) return status.error();
  if (auto status = ParseFlags(config, **family, out); !status) return status.error();
  const auto eps = Real(config, "rms_norm_eps", 1e-6);
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
    return Bad(
        fmt::format("the sizes describe {:.3g} parameters, more than any model; check \"hidden_size\", "
                    "\"intermediate_size\", \"num_hidden_layers\" and \"vocab_size\"",
                    parameters));
  }
  return out;
}

const LinearSlot kLinearSlots[kSlots] = {
    {"self_attn.q_proj", [](const ModelConfig& c) { return c.q_size(); },
     [](const ModelConfig& c) { return c.hidden_size; }, [](const ModelConfig& c) { return c.qkv_bias; }},
    {"self_attn.k_proj", [](const ModelConfig& c) { return c.kv_size(); },
     [](const ModelConfig& c) { return c.hidden_size; }, [](const ModelConfig& c) { return c.qkv_bias; }},
    {"self_attn.v_proj", [](const ModelConfig& c) { return c.kv_size(); },
     [](const ModelConfig& c) { return c.hidden_size; }, [](const ModelConfig& c) { return c.qkv_bias; }},
    {"self_attn.o_proj", [](const ModelConfig& c) { return c.hidden_size; },
     [](const ModelConfig& c) { return c.q_size(); }, [](const ModelConfig& c) { return c.output_bias; }},
    {"mlp.gate_proj", [](const ModelConfig& c) { return c.intermediate_size; },
     [](const ModelConfig& c) { return c.hidden_size; }, [](const ModelConfig& c) { return c.mlp_bias; }},
    {"mlp.up_proj", [](const ModelConfig& c) { return c.intermediate_size; },
     [](const ModelConfig& c) { return c.hidden_size; }, [](const ModelConfig& c) { return c.mlp_bias; }},
    {"mlp.down_proj", [](const ModelConfig& c) { return c.hidden_size; },
     [](const ModelConfig& c) { return c.intermediate_size; }, [](const ModelConfig& c) { return c.mlp_bias; }},
};

std::string LinearStem(std::size_t layer, Slot slot) {
  return fmt::format("model.layers.{}.{}", layer, kLinearSlots[slot].name);
}

std::string NormName(std::size_t layer, Norm norm) {
  return fmt::format("model.layers.{}.{}_layernorm.weight", layer, norm == kAttentionNorm ? "input" : "post_attention");
}

std::size_t CountParameters(const ModelConfig& config) {
  std::size_t per_layer = 2 * config.hidden_size;  // two norms
  for (const LinearSlot& slot : kLinearSlots) {
    per_layer += slot.rows(config) * (slot.cols(config) + (slot.bias(config) ? 1 : 0));
  }
  const std::size_t table = config.vocab_size * config.hidden_size;
  return config.layers * per_layer + config.hidden_size + table * (config.tied_head ? 1 : 2);
}

Status CheckContext(const ModelConfig& config, std::size_t ctx) {
  if (ctx <= config.max_context) return {};
  return Error{ErrorCode::kUsage,
               fmt::format("windows of {} tokens exceed the {} that the model was trained for; take a "
                           "smaller --ctx",
                           ctx, config.max_context)};
}

}  // namespace marlin
