// INT4 asymmetric: one fp16 scale and one 4-bit integer zero point per group of kGroup weights.
//
//   code, 4 bits:  0..15          weight = scale * (code - zero_point)
//
// The range always includes 0, so that 0 is exact and the zero point fits its 4 bits.
#pragma once

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "formats/format.h"

namespace marlin {

// Nearest integer, ties to even, whatever the rounding mode of the thread.
inline float RoundHalfEven(float x) noexcept {
  const float below = std::floor(x);
  const float rest = x - below;
  if (rest < 0.5f) return below;
  if (rest > 0.5f) return below + 1;
  return std::fmod(below, 2.0f) == 0 ? below : below + 1;
}

template <std::uint16_t kId, FormatName kName, int kGroup>
struct Int4 {
  static constexpr FormatInfo kInfo{kId, kName.view(), "int4", "INT4 asymmetric", 4, kGroup, 16, 4};

  static GroupParams Fit(std::span<const float> weights, std::span<const float>) noexcept {
    float low = 0;
    float high = 0;
    for (const float w : weights) {
      low = std::min(low, w);
      high = std::max(high, w);
    }
    // Halved before the subtraction: the range of two floats can overflow.
    const std::uint16_t scale = FloatToHalf(std::min((high / 2 - low / 2) / 7.5f, kHalfMax));
    const float step = HalfToFloat(scale);
    if (step == 0) return {scale, 0};
    return {scale, static_cast<std::uint8_t>(std::clamp(RoundHalfEven(-low / step), 0.0f, 15.0f))};
  }

  static std::uint32_t Round(float weight, GroupParams params) noexcept {
    const float step = HalfToFloat(params.scale);
    const float zero = params.zero_point;
    if (step == 0) return params.zero_point;
    return static_cast<std::uint32_t>(std::clamp(RoundHalfEven(weight / step) + zero, 0.0f, 15.0f));
  }

  static float Decode(std::uint32_t code, GroupParams params) noexcept {
    return static_cast<float>(static_cast<int>(code & 15u) - params.zero_point) * HalfToFloat(params.scale);
  }
};

}  // namespace marlin
