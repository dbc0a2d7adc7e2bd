// FP4 E2M1 with one fp16 scale per group of kGroup weights (values as in OCP MX v1.0, section 5.3.3).
//
//   code, 4 bits:   [s e e m]     s sign, e exponent (bias 1), m mantissa
//   magnitudes:      0:0  1:0.5  2:1  3:1.5  4:2  5:3  6:4  7:6
//
// weight = scale * value. Code 8 (minus zero) decodes to -0 and is never produced by Round.
#pragma once

#include <algorithm>
#include <cmath>

#include "formats/format.h"

namespace marlin {

// Without a table, which a kernel of a GPU could not read.
constexpr float ValueOfE2m1(std::uint32_t code) noexcept {
  const auto m = static_cast<float>(code & 7);
  const float magnitude = m < 4 ? m * 0.5f : m < 6 ? m - 2 : m * 2 - 8;
  return (code & 8) == 0 ? magnitude : -magnitude;
}

// The scale that puts the largest magnitude on 6.
constexpr float FitE2m1(std::span<const float> weights) noexcept {
  float peak = 0;
  for (const float w : weights) peak = std::max(peak, std::abs(w));
  return peak / 6.0f;
}

// Scales so that the largest magnitude lands between 10 and 2.7, in steps of 1/24 octave: above 6 it is cut off, below
// 4 the wide gap between 4 and 6 is not used.
template <class F>
constexpr std::size_t ProposeE2m1(std::span<const float> weights, std::span<GroupParams, kMaxProposals> out) noexcept {
  constexpr float kStep = 1.0293022f;  // 2^(1/24)
  const float whole = FitE2m1(weights);
  std::size_t count = 0;
  out[count++] = {.scale = F::RoundScale(whole, {})};
  float scale = whole * 0.6f;
  for (int i = 0; i <= 45; ++i, scale *= kStep) out[count++] = {.scale = F::RoundScale(scale, {})};
  return count;
}

constexpr std::uint32_t RoundE2m1(float weight, float scale) noexcept {
  if (scale == 0) return 0;
  // One for every halfway point between neighbouring magnitudes that is passed; at a tie the even code wins.
  const float x = std::abs(weight) / scale;
  const int code = (x > 0.25f) + (x >= 0.75f) + (x > 1.25f) + (x >= 1.75f) + (x > 2.5f) + (x >= 3.5f) + (x > 5.0f);
  return static_cast<std::uint32_t>(code == 0 || weight > 0 ? code : code | 8);
}

// ValueOfE2m1 of RoundE2m1, of -0 perhaps 0, without the code.
constexpr float NearestValueE2m1(float weight, float scale) noexcept {
  if (scale == 0) return 0;
  const float x = std::abs(weight) / scale;
  const auto step = [](bool passed, float size) { return passed ? size : 0.0f; };
  const float magnitude = step(x > 0.25f, 0.5f) + step(x >= 0.75f, 0.5f) + step(x > 1.25f, 0.5f) +
                          step(x >= 1.75f, 0.5f) + step(x > 2.5f, 1.0f) + step(x >= 3.5f, 1.0f) + step(x > 5.0f, 2.0f);
  return std::copysign(magnitude, weight);
}

constexpr float NearestE2m1(float weight, float scale) noexcept { return NearestValueE2m1(weight, scale) * scale; }

constexpr float DecodeE2m1(std::uint32_t code, float scale) noexcept { return ValueOfE2m1(code) * scale; }

template <std::uint16_t kId, FormatName kName, int kGroup>
struct Fp4 : NoBias, NoUnits {
  static constexpr FormatInfo kInfo{kId, kName.view(), "fp4", "FP4 E2M1", 4, kGroup, 16, 0};
  static constexpr GroupParams Fit(std::span<const float> weights, std::span<const float>) noexcept {
    return {.scale = RoundScale(FitE2m1(weights), {})};
  }
  static constexpr std::size_t Propose(std::span<const float> weights,
                                       std::span<GroupParams, kMaxProposals> out) noexcept {
    return ProposeE2m1<Fp4>(weights, out);
  }
  static constexpr float RoundScale(float wanted, const GroupParams&) noexcept { return RoundScaleToHalf(wanted); }
  static constexpr std::uint32_t Round(float weight, const GroupParams& params) noexcept {
    return RoundE2m1(weight, params.scale);
  }
  static constexpr float Decode(std::uint32_t code, const GroupParams& params) noexcept {
    return DecodeE2m1(code, params.scale);
  }
  static constexpr float Nearest(float weight, const GroupParams& params) noexcept {
    return NearestE2m1(weight, params.scale);
  }
  static constexpr float NearestValue(float weight, const GroupParams& params) noexcept {
    return NearestValueE2m1(weight, params.scale);
  }
};

}  // namespace marlin
