// FP4 E2M1 with one fp16 scale per group of kGroup weights (values as in OCP MX v1.0, section 5.3.3).
//
//   code, 4 bits:   [s e e m]     s sign, e exponent (bias 1), m mantissa
//   magnitudes:      0:0  1:0.5  2:1  3:1.5  4:2  5:3  6:4  7:6
//
// weight = scale * value. Code 8 (minus zero) decodes to -0 and is never produced by Round.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>

#include "base/half.h"
#include "formats/format.h"

namespace marlin {

inline constexpr std::array<float, 16> kE2m1Values = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                                      -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

// Scale so that the largest magnitude lands on 6.
inline GroupParams FitE2m1(std::span<const float> weights) noexcept {
  float peak = 0;
  for (const float w : weights) peak = std::max(peak, std::abs(w));
  return {FloatToHalf(std::min(peak / 6.0f, kHalfMax)), 0};
}

inline std::uint32_t RoundE2m1(float weight, GroupParams params) noexcept {
  const float scale = HalfToFloat(params.scale);
  if (scale == 0) return 0;
  // Halfway points between neighbouring magnitudes; at a tie the even code (mantissa bit 0) wins.
  constexpr std::array<float, 7> kMiddle = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
  const float magnitude = std::abs(weight) / scale;
  std::uint32_t code = 0;
  for (std::uint32_t i = 0; i < 7; ++i) {
    if (magnitude > kMiddle[i] || (magnitude == kMiddle[i] && i % 2 == 1)) code = i + 1;
  }
  return code == 0 || weight > 0 ? code : code | 8u;
}

inline float DecodeE2m1(std::uint32_t code, GroupParams params) noexcept {
  return kE2m1Values[code & 15u] * HalfToFloat(params.scale);
}

template <std::uint16_t kId, FormatName kName, int kGroup>
struct Fp4 {
  static constexpr FormatInfo kInfo{kId, kName.view(), "fp4", "FP4 E2M1", 4, kGroup, 16, 0};
  static GroupParams Fit(std::span<const float> weights, std::span<const float>) noexcept { return FitE2m1(weights); }
  static std::uint32_t Round(float weight, GroupParams params) noexcept { return RoundE2m1(weight, params); }
  static float Decode(std::uint32_t code, GroupParams params) noexcept { return DecodeE2m1(code, params); }
};

}  // namespace marlin
