// INT4 in groups of kGroup weights with one fp16 scale.
//
//   code, 4 bits:  0..15          weight = scale * (code - zero_point)
//
// Asymmetric: a 4-bit integer zero point per group. The range always includes 0, so that 0 is exact and the zero point
// fits its 4 bits. Symmetric: the zero point is 8 and the scale may be negative, so that the end with one code more
// lies on the side of the largest weight (llama.cpp's Q4_0, for groups of 32).
#pragma once

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "formats/format.h"

namespace marlin {

// Nearest integer, ties to even, for |x| <= 2^22: beside 1.5 * 2^23 a float has no room for a fraction.
inline float RoundHalfEven(float x) noexcept { return (x + 12582912.0f) - 12582912.0f; }

inline std::uint32_t RoundInt4(float weight, GroupParams params) noexcept {
  const float step = HalfToFloat(params.scale);
  const float zero = params.zero_point;
  if (step == 0) return params.zero_point;
  return static_cast<std::uint32_t>(RoundHalfEven(std::clamp(weight / step, -zero, 15.0f - zero)) + zero);
}

inline float DecodeInt4(std::uint32_t code, GroupParams params) noexcept {
  return static_cast<float>(static_cast<int>(code & 15u) - params.zero_point) * HalfToFloat(params.scale);
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

  static std::uint16_t RoundScale(float wanted) noexcept { return RoundScaleToHalf(wanted); }
  static std::uint32_t Round(float weight, GroupParams params) noexcept { return RoundInt4(weight, params); }
  static float Decode(std::uint32_t code, GroupParams params) noexcept { return DecodeInt4(code, params); }
};

template <std::uint16_t kId, FormatName kName, int kGroup>
struct SymmetricInt4 {
  static constexpr std::uint8_t kZero = 8;
  static constexpr FormatInfo kInfo{.id = kId,
                                    .name = kName.view(),
                                    .family = "int4",
                                    .label = "INT4 symmetric",
                                    .code_bits = 4,
                                    .group = kGroup,
                                    .scale_bits = 16,
                                    .zero_point_bits = 0,
                                    .fixed_zero_point = kZero,
                                    .common = false};

  // The weight of the largest magnitude, the first of two alike.
  static float PeakOf(std::span<const float> weights) noexcept {
    float peak = 0;
    for (const float w : weights) peak = std::abs(w) > std::abs(peak) ? w : peak;
    return peak;
  }
  // The peak gets code 0, which is 8 steps away from 0.
  static GroupParams Fit(std::span<const float> weights, std::span<const float>) noexcept {
    return {RoundScale(PeakOf(weights) / -8.0f), kZero};
  }
  // The peak between 6.7 and 16 steps away from 0, on either side of it.
  static std::size_t Propose(std::span<const float> weights, std::span<GroupParams, kMaxProposals> out) noexcept {
    const float whole = PeakOf(weights) / -8.0f;
    std::size_t count = 0;
    out[count++] = Fit(weights, {});
    for (int percent = 120; percent >= 50; percent -= 2) {
      for (const float side : {1.0f, -1.0f}) {
        const std::uint16_t scale = RoundScale(side * whole * static_cast<float>(percent) / 100.0f);
        if (scale != 0) out[count++] = {scale, kZero};
      }
    }
    return count;
  }
  static std::uint16_t RoundScale(float wanted) noexcept { return RoundScaleToSignedHalf(wanted); }
  static std::uint32_t Round(float weight, GroupParams params) noexcept { return RoundInt4(weight, params); }
  static float Decode(std::uint32_t code, GroupParams params) noexcept { return DecodeInt4(code, params); }
};

}  // namespace marlin
