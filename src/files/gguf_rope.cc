#include "files/gguf_rope.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <string>
#include <string_view>

namespace marlin {
namespace {
using nlohmann::json;

double Wavelength(double theta, std::size_t pair, std::size_t pairs) {
  return 2 * std::numbers::pi * std::pow(theta, static_cast<double>(pair) / static_cast<double>(pairs));
}

double Divisor(const Llama3Scaling& scaling, double wavelength) {
  if (wavelength < scaling.context / scaling.high) return 1;
  if (wavelength > scaling.context / scaling.low) return scaling.factor;
  const double blend = (scaling.context / wavelength - scaling.low) / (scaling.high - scaling.low);
  return 1 / ((1 - blend) / scaling.factor + blend);
}

// 1e-4: a file's divisors went through fp32 powers; a wrong parameter is off by far more.
bool Gives(const Llama3Scaling& scaling, std::span<const float> divisors, double theta) {
  for (std::size_t i = 0; i < divisors.size(); ++i) {
    const double wanted = Divisor(scaling, Wavelength(theta, i, divisors.size()));
    if (!(std::abs(divisors[i] - wanted) <= 1e-4 * wanted)) return false;
  }
  return true;
}

// The blend is a line over 1 / wavelength: two divisors between the ends give it. Scalings with low = 1 have every line
// that falls below 0.
std::optional<Llama3Scaling> FitLine(std::span<const float> divisors, double theta, double factor) {
  std::vector<std::size_t> between;
  for (std::size_t i = 0; i < divisors.size(); ++i) {
    if (divisors[i] > 1.0001f && divisors[i] < 0.9999 * factor) between.push_back(i);
  }
  if (between.size() < 2) return {};
  const auto blend = [&](std::size_t i) {
    return (1 / static_cast<double>(divisors[i]) - 1 / factor) / (1 - 1 / factor);
  };
  const auto turns = [&](std::size_t i) { return 1 / Wavelength(theta, i, divisors.size()); };
  const std::size_t a = between.front(), b = between.back();
  const double slope = (blend(a) - blend(b)) / (turns(a) - turns(b));
  const double start = blend(a) - slope * turns(a);
  if (!(start < 0)) return {};
  const double high = 1 - 1 / start;
  return Llama3Scaling{factor, 1, high, slope * (high - 1)};
}

// Nothing between the ends, or one pair: any line that passes there.
std::optional<Llama3Scaling> FitStep(std::span<const float> divisors, double theta, double factor) {
  const auto divided = std::ranges::find_if(divisors, [](float divisor) { return divisor > 1.0001f; });
  const auto first = static_cast<std::size_t>(divided - divisors.begin());
  const auto whole = std::ranges::find_if(divisors, [&](float divisor) { return divisor >= 0.9999 * factor; });
  const auto last = static_cast<std::size_t>(whole - divisors.begin());
  if (first == 0 || last == divisors.size() || last != first) return {};
  const double kept = Wavelength(theta, first - 1, divisors.size()), slow = Wavelength(theta, last, divisors.size());
  // The ends lie just inside the gap.
  const double context = slow + (kept - slow) * 0.01;
  return Llama3Scaling{factor, 1, context / (kept + (slow - kept) * 0.01), context};
}

double ShortContext(const GgufConfigTarget& target, const json& settings) {
  constexpr const char* kKey = "original_max_position_embeddings";
  return NumberOf(settings, kKey, NumberOf(target.config, kKey, 0));
}

Status WriteLinear(const GgufConfigTarget& target, const json& settings, bool) {
  target.Set("rope.scaling.type", std::string("linear"));
  target.Set("rope.scaling.factor", static_cast<float>(NumberOf(settings, "factor", 1)));
  return {};
}

Status WriteYarn(const GgufConfigTarget& target, const json& settings, bool) {
  const double context = NumberOf(target.config, "max_position_embeddings", 0);
  const double short_context = ShortContext(target, settings);
  const double factor = NumberOf(settings, "factor", context / short_context);
  target.Set("rope.scaling.type", std::string("yarn"));
  target.Set("rope.scaling.factor", static_cast<float>(factor));
  target.Set("rope.scaling.original_context_length", static_cast<std::uint32_t>(short_context));
  target.Set("rope.scaling.yarn_beta_fast", static_cast<float>(NumberOf(settings, "beta_fast", 32)));
  target.Set("rope.scaling.yarn_beta_slow", static_cast<float>(NumberOf(settings, "beta_slow", 1)));
  // Most programs that read this file compute the usual magnitude and multiply it by the first of these; the second is
  // the magnitude as converters write it.
  const double magnitude = NumberOf(settings, "attention_factor", 0);
  if (magnitude != 0) {
    target.Set("rope.scaling.attn_factor", static_cast<float>(magnitude / UsualYarnMagnitude(factor)));
    target.Set("rope.scaling.yarn_attn_factor", static_cast<float>(magnitude));
  }
  return {};
}

Status WriteLlama3(const GgufConfigTarget& target, const json& settings, bool may_divide) {
  if (!may_divide) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("Llama 3.1's scaling of rotary positions: GGUF's architecture {} has no vector for it",
                             target.architecture)};
  }
  const Llama3Scaling scaling{NumberOf(settings, "factor", 1), NumberOf(settings, "low_freq_factor", 1),
                              NumberOf(settings, "high_freq_factor", 4), ShortContext(target, settings)};
  target.vectors.push_back(
      {"rope_freqs.weight", Llama3Divisors(scaling, target.facts.theta, target.facts.rotary_dims / 2)});
  return {};
}

// What the function of a family writes instead.
Status WriteNothing(const GgufConfigTarget&, const json&, bool) { return {}; }

struct RopeWriter {
  std::string_view type;
  Status (*write)(const GgufConfigTarget& target, const json& settings, bool may_divide);
};
constexpr std::array kRopeWriters = {RopeWriter{"default", WriteNothing}, RopeWriter{"none", WriteNothing},
                                     RopeWriter{"linear", WriteLinear},   RopeWriter{"yarn", WriteYarn},
                                     RopeWriter{"llama3", WriteLlama3},   RopeWriter{"longrope", WriteNothing},
                                     RopeWriter{"su", WriteNothing},      RopeWriter{"proportional", WriteNothing}};

}  // namespace

std::vector<float> Llama3Divisors(const Llama3Scaling& scaling, double theta, std::size_t pairs) {
  std::vector<float> divisors;
  for (std::size_t i = 0; i < pairs; ++i) {
    divisors.push_back(static_cast<float>(Divisor(scaling, Wavelength(theta, i, pairs))));
  }
  return divisors;
}

std::optional<Llama3Scaling> FitLlama3(std::span<const float> divisors, double theta) {
  if (divisors.empty()) return {};
  Llama3Scaling published;
  published.factor = static_cast<double>(*std::ranges::max_element(divisors));
  const std::array found = {std::optional(published), FitLine(divisors, theta, published.factor),
                            FitStep(divisors, theta, published.factor)};
  for (const auto& scaling : found) {
    if (scaling && Gives(*scaling, divisors, theta)) return scaling;
  }
  return {};
}

double UsualYarnMagnitude(double factor) { return factor <= 1 ? 1 : 0.1 * std::log(factor) + 1; }

Status WriteRope(const GgufConfigTarget& target, bool may_divide) {
  if (target.facts.rotary_dims == 0) return {};
  target.Set("rope.freq_base", static_cast<float>(target.facts.theta));
  target.Set("rope.dimension_count", static_cast<std::uint32_t>(target.facts.rotary_dims));
  const json settings = RopeSettings(target.config);
  const std::string type = settings.value("rope_type", settings.value("type", std::string("default")));
  const auto writer = std::ranges::find(kRopeWriters, type, &RopeWriter::type);
  if (writer != kRopeWriters.end()) return writer->write(target, settings, may_divide);
  return Error{ErrorCode::kUnsupported, fmt::format("GGUF has no scaling of rotary positions of type {}", type)};
}

}  // namespace marlin
