#include "model/rope_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "files/known_keys.h"

namespace marlin {
namespace {
using nlohmann::json;

constexpr const char* kOldKey = "rope_scaling";
constexpr const char* kNewKey = "rope_parameters";

// The settings of one key, while they become a Rope.
struct Scaling {
  const Config& config;     // the whole
  const Config& settings;   // of the key
  const std::string where;  // the key
  const RopeRequest& request;
  double theta = 0;
  double share = 1;
  Rope rope;

  std::size_t pairs() const { return rope.dims / 2; }

  // A positive number that the kind of scaling cannot do without.
  Result<double> Needed(const std::string& type, const char* key) const {
    if (settings.Has(key)) return RealOf(settings, key, 0);
    return BadConfig(fmt::format("\"{}\" of type {} has no \"{}\"; add the value that the model was trained with",
                                 where, type, key));
  }
  // The context before it was extended: inside the settings, or beside them.
  Result<double> ShortContext(const std::string& type) const {
    constexpr const char* kKey = "original_max_position_embeddings";
    if (!settings.Has(kKey) && config.Has(kKey)) return RealOf(config, kKey, 0);
    return Needed(type, kKey);
  }
  // How far it was extended.
  Result<double> Factor(double short_context) const {
    return RealOf(settings, "factor", static_cast<double>(request.context) / short_context);
  }
};

// fp32 throughout, as models are trained: frequency i of d/2 is theta^(-2i/d).
std::vector<float> PlainFrequencies(double theta, std::size_t dims) {
  std::vector<float> frequencies(dims / 2);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dims);
    frequencies[i] = 1.0f / std::pow(static_cast<float>(theta), exponent);
  }
  return frequencies;
}

Status KeepAll(Scaling&) { return {}; }

Status ScaleLinear(Scaling& scaling) {
  const auto factor = scaling.Needed("linear", "factor");
  if (!factor) return factor.error();
  for (float& frequency : scaling.rope.scaling.frequencies) frequency /= static_cast<float>(*factor);
  return {};
}

// Llama 3.1's scaling: low frequencies are divided by `factor`, high ones kept, the middle blended
// (Hugging Face transformers, rope type "llama3").
Status ScaleLlama3(Scaling& scaling) {
  const auto factor = scaling.Needed("llama3", "factor");
  const auto low = scaling.Needed("llama3", "low_freq_factor");
  const auto high = scaling.Needed("llama3", "high_freq_factor");
  const auto context = scaling.Needed("llama3", "original_max_position_embeddings");
  for (const auto* value : {&factor, &low, &high, &context}) {
    if (!*value) return value->error();
  }
  if (*high <= *low)
    return BadConfig(fmt::format("\"{}\": high_freq_factor must exceed low_freq_factor", scaling.where));
  for (float& frequency : scaling.rope.scaling.frequencies) {
    const double wavelength = 2 * std::numbers::pi / frequency;
    if (wavelength < *context / *high) continue;
    double blend = (*context / wavelength - *low) / (*high - *low);
    if (wavelength > *context / *low) blend = 0;
    frequency = static_cast<float>((1 - blend) * frequency / *factor + blend * frequency);
  }
  return {};
}

// How much YaRN scales queries and keys together, for `factor` (Peng et al. 2023, section 3.4).
double YarnMagnitude(double factor, double strength) { return factor <= 1 ? 1 : 0.1 * strength * std::log(factor) + 1; }

Result<double> YarnMagnitude(const Scaling& scaling, double factor) {
  double magnitude = YarnMagnitude(factor, 1), of_heads = 0, of_all = 0;
  if (auto status = ReadFields(scaling.settings, {{"mscale", &of_heads}, {"mscale_all_dim", &of_all}}); !status)
    return status.error();
  if (of_heads != 0 && of_all != 0) magnitude = YarnMagnitude(factor, of_heads) / YarnMagnitude(factor, of_all);
  return RealOf(scaling.settings, "attention_factor", magnitude);
}

// YaRN (Peng et al. 2023): pairs that turn seldom in the short context are slowed down by `factor`, those that turn
// often stay, and between them it is a line over the pairs.
Status ScaleYarn(Scaling& scaling) {
  const auto context = scaling.ShortContext("yarn");
  if (!context) return context.error();
  const auto factor = scaling.Factor(*context);
  if (!factor) return factor.error();
  double fast = 32, slow = 1;
  bool truncate = true;
  if (auto status = ReadFields(scaling.settings, {{"beta_fast", &fast}, {"beta_slow", &slow}, {"truncate", &truncate}});
      !status)
    return status;
  const auto magnitude = YarnMagnitude(scaling, *factor);
  if (!magnitude) return magnitude.error();
  const auto dims = static_cast<double>(scaling.rope.dims);
  // The pair that turns so often in the context.
  const auto pair_of = [&](double turns) {
    return dims * std::log(*context / (turns * 2 * std::numbers::pi)) / (2 * std::log(scaling.theta));
  };
  double first = pair_of(fast), last = pair_of(slow);
  if (truncate) {
    first = std::floor(first);
    last = std::ceil(last);
  }
  first = std::max(first, 0.0);
  last = std::min(last, dims - 1);
  if (first == last) last += 0.001;
  std::vector<float>& frequencies = scaling.rope.scaling.frequencies;
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double slowed = std::clamp((static_cast<double>(i) - first) / (last - first), 0.0, 1.0);
    const double frequency = frequencies[i];
    frequencies[i] = static_cast<float>(frequency / *factor * slowed + frequency * (1 - slowed));
  }
  scaling.rope.scaling.magnitude = static_cast<float>(*magnitude);
  return {};
}

Result<std::vector<float>> DividedBy(const Scaling& scaling, const char* key) {
  std::vector<float> frequencies = scaling.rope.scaling.frequencies;
  const auto wrong = [&] {
    return BadConfig(
        fmt::format("\"{}\": \"{}\" is no list of {} positive numbers", scaling.where, key, frequencies.size()));
  };
  if (!scaling.settings.Has(key)) return wrong();
  const json& factors = scaling.settings[key];
  if (!factors.is_array() || factors.size() != frequencies.size()) return wrong();
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    if (!factors[i].is_number() || !(factors[i].get<double>() > 0)) return wrong();
    frequencies[i] /= factors[i].get<float>();
  }
  return frequencies;
}

// LongRoPE (Ding et al. 2024): each pair has a factor of its own, and another one beyond the short context.
Status ScaleLong(Scaling& scaling) {
  const auto context = scaling.ShortContext("longrope");
  if (!context) return context.error();
  const auto factor = scaling.Factor(*context);
  if (!factor) return factor.error();
  const double magnitude = *factor <= 1 ? 1 : std::sqrt(1 + std::log(*factor) / std::log(*context));
  const auto given = RealOf(scaling.settings, "attention_factor", magnitude);
  if (!given) return given.error();
  auto near = DividedBy(scaling, "short_factor");
  if (!near) return near.error();
  auto far = DividedBy(scaling, "long_factor");
  if (!far) return far.error();
  RopeScaling& out = scaling.rope.scaling;
  out.frequencies = *std::move(near);
  out.long_frequencies = *std::move(far);
  out.short_context = static_cast<std::size_t>(*context);
  out.magnitude = static_cast<float>(*given);
  return {};
}

// Gemma 4: the pairs span the whole head, and only the share of them turns.
Status ScaleProportional(Scaling& scaling) {
  const std::size_t head_dim = scaling.request.head_dim;
  const auto factor = RealOf(scaling.settings, "factor", 1);
  if (!factor) return factor.error();
  const auto turning = static_cast<std::size_t>(scaling.share * static_cast<double>(head_dim)) / 2;
  std::vector<float> frequencies = PlainFrequencies(scaling.theta, head_dim);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] = i < turning ? frequencies[i] / static_cast<float>(*factor) : 0;
  }
  scaling.rope.dims = head_dim;
  scaling.rope.scaling.frequencies = std::move(frequencies);
  return {};
}

struct RopeType {
  const char* name;
  Status (*scale)(Scaling& scaling);
};
constexpr std::array kTypes = {
    RopeType{"default", KeepAll},
    RopeType{"linear", ScaleLinear},
    RopeType{"llama3", ScaleLlama3},
    RopeType{"yarn", ScaleYarn},
    RopeType{"longrope", ScaleLong},
    RopeType{"su", ScaleLong},
    RopeType{"proportional", ScaleProportional},
};

Result<const RopeType*> FindType(const Config& settings, const std::string& where) {
  std::string type;
  for (const char* key : {"rope_type", "type"}) {
    const auto name = TextOf(settings, key, type);
    if (!name) return name.error();
    if (!type.empty() && *name != type) {
      return BadConfig(
          fmt::format("\"{}\": \"rope_type\" is {} and \"type\" is {}; keep one of them", where, type, *name));
    }
    type = *name;
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

// Settings that change nothing where the type does not read them.
constexpr std::array kHarmlessSettings = {KnownKey{"factor", &kOne}, KnownKey{"original_max_position_embeddings"},
                                          KnownKey{"attention_factor", &kOne}, KnownKey{"max_position_embeddings"}};

Status CheckSettings(const Config& settings, const std::string& where, const RopeType& type) {
  for (const auto& [key, value] : settings.object().items()) {
    if (value.is_null() || settings.read().contains(key)) continue;
    const KnownKey* row = FindKnownKey(kHarmlessSettings, key);
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

// A number that may be given outside and inside, but not twice with other values.
Result<double> OneOf(const Config& config, const Config& settings, const std::string& where, const char* outer_key,
                     const char* inner_key, double otherwise) {
  const auto outer = RealOf(config, outer_key, otherwise);
  if (!outer) return outer.error();
  const auto inner = RealOf(settings, inner_key, *outer);
  if (!inner || *inner == *outer || !config.Has(outer_key)) return inner;
  return BadConfig(fmt::format("\"{}\" is {} and {} in \"{}\"; keep the one that the model was trained with", inner_key,
                               *outer, *inner, where));
}

Status CheckFrequencies(const Rope& rope, const std::string& where, bool may_rest) {
  for (const std::vector<float>* frequencies : {&rope.scaling.frequencies, &rope.scaling.long_frequencies}) {
    for (const float frequency : *frequencies) {
      if (std::isfinite(frequency) && (frequency > 0 || (may_rest && frequency == 0))) continue;
      return BadConfig(
          fmt::format("{}: a rotary frequency becomes {}, want a positive number; check \"rope_theta\" and \"factor\"",
                      where, frequency));
    }
  }
  return {};
}

Status ReadQueryGrowth(const Config& settings, const Scaling& scaling, RopeScaling& out) {
  if (!settings.Has("llama_4_scaling_beta")) return {};
  const auto context = scaling.ShortContext("llama_4_scaling_beta");
  if (!context) return context.error();
  out.query_context = static_cast<std::size_t>(*context);
  return ReadFields(settings, {{"llama_4_scaling_beta", &out.query_growth}});
}

// With the settings of one key, an object.
Result<Rope> RopeOf(const Config& config, const RopeRequest& request, const std::string& where, const json& object) {
  const Config settings(object);
  const auto type = FindType(settings, where);
  if (!type) return type.error();
  Scaling scaling{config, settings, where, request, 0, 1, {}};
  const auto theta = OneOf(config, settings, where, request.theta_key, "rope_theta", request.theta);
  if (!theta) return theta.error();
  const auto share = OneOf(config, settings, where, request.share_key, "partial_rotary_factor", request.rotary_share);
  if (!share) return share.error();
  if (*share > 1) return BadConfig(fmt::format("\"{}\" is {}, want at most 1", request.share_key, *share));
  if (*share != 1 && !request.may_be_partial) {
    return UnsupportedConfig(
        fmt::format("\"{}\" is {}, and this architecture turns whole heads; want 1", request.share_key, *share));
  }
  scaling.theta = scaling.rope.theta = *theta;
  scaling.share = *share;
  scaling.rope.dims = static_cast<std::size_t>(static_cast<double>(request.head_dim) * *share);
  scaling.rope.neighbours = request.neighbours;
  if (scaling.rope.dims == 0 || scaling.rope.dims % 2 != 0) {
    return BadConfig(fmt::format("\"{}\" {} of heads of {} leaves {} elements to turn, want pairs", request.share_key,
                                 *share, request.head_dim, scaling.rope.dims));
  }
  scaling.rope.scaling.frequencies = PlainFrequencies(*theta, scaling.rope.dims);
  if (auto status = (*type)->scale(scaling); !status) return status.error();
  if (auto status = ReadQueryGrowth(settings, scaling, scaling.rope.scaling); !status) return status.error();
  if (auto status = CheckSettings(settings, where, **type); !status) return status.error();
  const bool may_rest = (*type)->scale == ScaleProportional;
  if (auto status = CheckFrequencies(scaling.rope, where, may_rest); !status) return status.error();
  return std::move(scaling.rope);
}

// The settings of a key for the layers that are asked for; null = it has none.
Result<const json*> SettingsOf(const Config& config, const char* key, const RopeRequest& request) {
  if (!config.Has(key)) return nullptr;
  const json* object = &config[key];
  if (!object->is_object()) return BadConfig(fmt::format("\"{}\" is not an object", key));
  const bool nested = !object->empty() && std::ranges::all_of(*object, [](const json& value) {
    return value.is_object() || value.is_null();
  });
  if (nested) {
    if (request.layer_type == nullptr) {
      return UnsupportedConfig(
          fmt::format("\"{}\" has settings for types of layers (\"{}\"), which this architecture "
                      "does not have",
                      key, object->begin().key()));
    }
    const auto found = object->find(request.layer_type);
    object = found == object->end() || found->is_null() ? nullptr : &*found;
  }
  return object == nullptr || object->empty() ? nullptr : object;
}

bool SameRope(const Rope& a, const Rope& b) {
  return a.dims == b.dims && a.scaling.frequencies == b.scaling.frequencies &&
         a.scaling.long_frequencies == b.scaling.long_frequencies && a.scaling.magnitude == b.scaling.magnitude;
}

}  // namespace

Result<Rope> ParseRope(const Config& config, const RopeRequest& request) {
  std::optional<Rope> rope;
  for (const char* key : {kNewKey, kOldKey}) {
    const auto settings = SettingsOf(config, key, request);
    if (!settings) return settings.error();
    if (*settings == nullptr || (key == kOldKey && !request.old_scaling)) continue;
    auto found = RopeOf(config, request, key, **settings);
    if (!found) return found.error();
    if (rope && !SameRope(*rope, *found)) {
      return BadConfig(
          fmt::format("\"{}\" and \"{}\" contradict each other; keep the one that the model was trained "
                      "with",
                      kNewKey, kOldKey));
    }
    rope = *std::move(found);
  }
  if (rope) return *std::move(rope);
  return RopeOf(config, request, kOldKey, json::object());
}

}  // namespace marlin
