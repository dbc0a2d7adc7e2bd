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

// Nearest integer, ties to even, for |x| <= 2^22: beside 1.5 * 2^23 a float has no room for a fraction.
inline float RoundHalfEven(float x) noexcept { return (x + 12582912.0f) - 12582912.0f; }

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
    return {scale, static_cast<std::uint8_t>(RoundHalfEven(std::clamp(-low / step, 0.0f, 15.0f)))};
  }

  // The range made shorter by up to 56 %, and moved by up to three steps: its ends may be cut off unequally.
  static std::size_t Propose(std::span<const float> weights, std::span<GroupParams, kMaxProposals> out) noexcept {
    const GroupParams whole = Fit(weights, {});
    std::size_t count = 0;
    out[count++] = whole;
    for (int percent = 104; percent >= 44; percent -= 5) {
      const float step = HalfToFloat(whole.scale) * static_cast<float>(percent) / 100.0f;
      const std::uint16_t scale = FloatToHalf(std::min(step, kHalfMax));
      for (int zero = whole.zero_point - 3; zero <= whole.zero_point + 3; ++zero) {
        if (zero >= 0 && zero <= 15) out[count++] = {scale, static_cast<std::uint8_t>(zero)};
      }
    }
    return count;
  }

  static std::uint32_t Round(float weight, GroupParams params) noexcept {
    const float step = HalfToFloat(params.scale);
    const float zero = params.zero_point;
    if (step == 0) return params.zero_point;
    return static_cast<std::uint32_t>(RoundHalfEven(std::clamp(weight / step, -zero, 15.0f - zero)) + zero);
  }

  static float Decode(std::uint32_t code, GroupParams params) noexcept {
    return static_cast<float>(static_cast<int>(code & 15u) - params.zero_point) * HalfToFloat(params.scale);
  }
};

}  // namespace marlin
