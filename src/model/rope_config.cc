#include "model/rope_config.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "files/known_keys.h"
#include "model/config_fields.h"

namespace marlin {
namespace {
using nlohmann::json;

constexpr const char* kOldKey = "rope_scaling";
constexpr const char* kNewKey = "rope_parameters";

// A positive number that the kind of scaling cannot do without.
Result<double> Needed(const json& scaling, const char* where, const std::string& type, const char* key) {
  if (HasKey(scaling, key)) return RealOf(scaling, key, 0);
  return BadConfig(
      fmt::format("\"{}\" of type {} has no \"{}\"; add the value that the model was trained with", where, type, key));
}

Status ScaleLinear(const json& scaling, const char* where, std::vector<float>& frequencies) {
  const auto factor = Needed(scaling, where, "linear", "factor");
  if (!factor) return factor.error();
  for (float& frequency : frequencies) frequency /= static_cast<float>(*factor);
  return {};
}

// Llama 3.1's scaling: low frequencies are divided by `factor`, high ones kept, the middle blended
// (Hugging Face transformers, rope type "llama3").
Status ScaleLlama3(const json& scaling, const char* where, std::vector<float>& frequencies) {
  const auto factor = Needed(scaling, where, "llama3", "factor");
  const auto low = Needed(scaling, where, "llama3", "low_freq_factor");
  const auto high = Needed(scaling, where, "llama3", "high_freq_factor");
  const auto context = Needed(scaling, where, "llama3", "original_max_position_embeddings");
  for (const auto* value : {&factor, &low, &high, &context}) {
    if (!*value) return value->error();
  }
  if (*high <= *low) return BadConfig(fmt::format("\"{}\": high_freq_factor must exceed low_freq_factor", where));
  for (float& frequency : frequencies) {
    const double wavelength = 2 * std::numbers::pi / frequency;
    if (wavelength < *context / *high) continue;
    double blend = (*context / wavelength - *low) / (*high - *low);
    if (wavelength > *context / *low) blend = 0;
    frequency = static_cast<float>((1 - blend) * frequency / *factor + blend * frequency);
  }
  return {};
}

Status KeepAll(const json&, const char*, std::vector<float>&) { return {}; }

// A kind of scaling, and the settings that it may have.
struct RopeType {
  const char* name;
  Status (*scale)(const json& scaling, const char* where, std::vector<float>& frequencies);
  std::span<const KnownKey> keys;
};

constexpr std::array kDefaultKeys = {KnownKey{"factor", &kOne}, KnownKey{"original_max_position_embeddings"}};
constexpr std::array kLinearKeys = {KnownKey{"factor"}, KnownKey{"original_max_position_embeddings"}};
constexpr std::array kLlama3Keys = {KnownKey{"factor"}, KnownKey{"low_freq_factor"}, KnownKey{"high_freq_factor"},
                                    KnownKey{"original_max_position_embeddings"}};
constexpr std::array kTypes = {RopeType{"default", KeepAll, kDefaultKeys}, RopeType{"linear", ScaleLinear, kLinearKeys},
                               RopeType{"llama3", ScaleLlama3, kLlama3Keys}};

constexpr std::array kCommonKeys = {KnownKey{"type"}, KnownKey{"rope_type"}, KnownKey{"rope_theta"},
                                    KnownKey{"partial_rotary_factor", &kOne}, KnownKey{"attention_factor", &kOne}};

Result<const RopeType*> FindType(const json& scaling, const char* where) {
  std::string type;
  for (const char* key : {"rope_type", "type"}) {
    if (!HasKey(scaling, key)) continue;
    if (!scaling[key].is_string()) return BadConfig(fmt::format("{}: \"{}\" is not a string", where, key));
    const auto name = scaling[key].get<std::string>();
    if (!type.empty() && name != type) {
      return BadConfig(
          fmt::format("\"{}\": \"rope_type\" is {} and \"type\" is {}; keep one of them", where, type, name));
    }
    type = name;
  }
  if (type.empty()) type = "default";
  std::string known;
  for (const RopeType& row : kTypes) {
    if (type == row.name) return &row;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", row.name);
  }
  return UnsupportedConfig(
      fmt::format("\"{}\": the scaling \"{}\" is not supported; supported are {}", where, type, known));
}

Status CheckSettings(const json& scaling, const char* where, const RopeType& type) {
  for (const auto& [key, value] : scaling.items()) {
    if (value.is_null()) continue;
    const KnownKey* row = FindKnownKey(kCommonKeys, key);
    if (row == nullptr) row = FindKnownKey(type.keys, key);
    if (row == nullptr) {
      return UnsupportedConfig(fmt::format("\"{}\": \"{}\" is {}, and scaling of type {} has no such setting", where,
                                           key, ShortValue(value), type.name));
    }
    if (row->values == nullptr || row->values->holds(value)) continue;
    return UnsupportedConfig(fmt::format("\"{}\": \"{}\" is {}, want {}; other values are not supported", where, key,
                                         ShortValue(value), row->values->words));
  }
  return {};
}

Result<double> Theta(const json& config, const json& scaling, const char* where) {
  constexpr double kDefaultTheta = 10000;
  const auto outer = RealOf(config, "rope_theta", kDefaultTheta);
  if (!outer) return outer.error();
  const auto inner = RealOf(scaling, "rope_theta", *outer);
  if (!inner) return inner.error();
  if (*inner == *outer || !HasKey(config, "rope_theta")) return inner;
  return BadConfig(fmt::format("\"rope_theta\" is {} and {} in \"{}\"; keep the one that the model was trained with",
                               *outer, *inner, where));
}

// With the settings of one key; `scaling` is an object.
Result<std::vector<float>> FrequenciesOf(const json& config, const char* where, const json& scaling,
                                         std::size_t head_dim) {
  const auto type = FindType(scaling, where);
  if (!type) return type.error();
  if (auto status = CheckSettings(scaling, where, **type); !status) return status.error();
  const auto theta = Theta(config, scaling, where);
  if (!theta) return theta.error();
  // fp32 throughout, as models are trained: frequency i of d/2 is theta^(-2i/d).
  std::vector<float> frequencies(head_dim / 2);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    frequencies[i] = 1.0f / std::pow(static_cast<float>(*theta), exponent);
  }
  if (auto status = (*type)->scale(scaling, where, frequencies); !status) return status.error();
  for (const float frequency : frequencies) {
    if (frequency > 0 && std::isfinite(frequency)) continue;
    return BadConfig(
        fmt::format("{}: a rotary frequency becomes {}, want a positive number; check \"rope_theta\" and "
                    "\"factor\"",
                    where, frequency));
  }
  return frequencies;
}

}  // namespace

Result<std::vector<float>> RopeFrequencies(const json& config, std::size_t head_dim) {
  const auto partial = RealOf(config, "partial_rotary_factor", 1);
  if (!partial) return partial.error();
  if (*partial != 1) return UnsupportedConfig("\"partial_rotary_factor\" other than 1 is not supported");
  std::optional<std::vector<float>> frequencies;
  for (const char* key : {kNewKey, kOldKey}) {
    if (!HasKey(config, key)) continue;
    if (!config[key].is_object()) return BadConfig(fmt::format("\"{}\" is not an object", key));
    if (config[key].empty()) continue;
    auto found = FrequenciesOf(config, key, config[key], head_dim);
    if (!found) return found.error();
    if (frequencies && *frequencies != *found) {
      return BadConfig(
          fmt::format("\"{}\" and \"{}\" contradict each other; keep the one that the model was trained "
                      "with",
                      kNewKey, kOldKey));
    }
    frequencies = std::move(*found);
  }
  if (frequencies) return std::move(*frequencies);
  return FrequenciesOf(config, kOldKey, json::object(), head_dim);
}

}  // namespace marlin
