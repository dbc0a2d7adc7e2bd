// Integers of 4 to 6 bits in groups of kGroup weights.
//
//   Int4          weight = scale * (code - zero_point)   codes 0..15, a zero point of 4 bits per group
//   SymmetricInt  weight = scale * (code - 2^(bits-1))   the scale may be negative
//
// Asymmetric: the range always includes 0, so that 0 is exact and the zero point fits its 4 bits. The scale keeps 7
// significant bits: so scale times zero point is exact in fp16, and the same codes stand in containers that store this
// product instead of the zero point (docs/decisions/0019).
// Symmetric: the end with one code more lies on the side of the largest weight (llama.cpp's Q4_0 and Q5_0, in groups of
// 32).
#pragma once

#include <algorithm>
#include <cmath>

#include "formats/format.h"

namespace marlin {

// Nearest integer, ties to even, for |x| <= 2^22: beside 1.5 * 2^23 a float has no room for a fraction.
constexpr float RoundHalfEven(float x) noexcept { return (x + 12582912.0f) - 12582912.0f; }

// Codes 0 .. most.
constexpr std::uint32_t RoundInteger(float weight, const GroupParams& params, float most) noexcept {
  const float zero = params.zero_point;
  if (params.scale == 0) return params.zero_point;
  const float steps = (weight - params.bias) / params.scale;
  return static_cast<std::uint32_t>(RoundHalfEven(Clamped(steps, -zero, most - zero)) + zero);
}

// DecodeInteger of RoundInteger, without the code.
constexpr float NearestInteger(float weight, const GroupParams& params, float most) noexcept {
  const float zero = params.zero_point;
  if (params.scale == 0) return 0;
  return RoundHalfEven(Clamped((weight - params.bias) / params.scale, -zero, most - zero)) * params.scale;
}

constexpr float DecodeInteger(std::uint32_t code, const GroupParams& params) noexcept {
  return static_cast<float>(static_cast<int>(code) - params.zero_point) * params.scale;
}

template <std::uint16_t kId, FormatName kName, int kGroup>
struct Int4 : NoBias, NoUnits {
  static constexpr FormatInfo kInfo{kId, kName.view(), "int4", "INT4 asymmetric", 4, kGroup, 16, 4};
  static constexpr int kScaleBits = 7;

  static constexpr GroupParams Fit(std::span<const float> weights, std::span<const float>) noexcept {
    float low = 0;
    float high = 0;
    for (const float w : weights) {
      low = std::min(low, w);
      high = std::max(high, w);
    }
    // Halved before the subtraction: the range of two floats can overflow.
    GroupParams params{.scale = RoundScale((high / 2 - low / 2) / 7.5f, {})};
    if (params.scale != 0) {
      params.zero_point = static_cast<std::uint8_t>(RoundHalfEven(Clamped(-low / params.scale, 0, 15)));
    }
    return params;
  }

  // The range made shorter by up to 56 %, and moved by up to three steps: its ends may be cut off unequally.
  static constexpr std::size_t Propose(std::span<const float> weights,
                                       std::span<GroupParams, kMaxProposals> out) noexcept {
    const GroupParams whole = Fit(weights, {});
    std::size_t count = 0;
    out[count++] = whole;
    for (int percent = 104; percent >= 44; percent -= 5) {
      const float scale = RoundScale(whole.scale * static_cast<float>(percent) / 100.0f, {});
      for (int zero = whole.zero_point - 3; zero <= whole.zero_point + 3; ++zero) {
        if (zero < 0 || zero > 15) continue;
        out[count++] = {.scale = scale, .zero_point = static_cast<std::uint8_t>(zero)};
      }
    }
    return count;
  }

  static constexpr float RoundScale(float wanted, const GroupParams&) noexcept {
    return wanted > 0 ? RoundToBitsInHalf(wanted, kScaleBits) : 0.0f;
  }
  static constexpr std::uint32_t Round(float weight, const GroupParams& params) noexcept {
    return RoundInteger(weight, params, 15);
  }
  static constexpr float Decode(std::uint32_t code, const GroupParams& params) noexcept {
    return DecodeInteger(code, params);
  }
  static constexpr float Nearest(float weight, const GroupParams& params) noexcept {
    return NearestInteger(weight, params, 15);
  }
};

// The weight of the largest magnitude, the first of two alike.
constexpr float PeakOf(std::span<const float> weights) noexcept {
  float peak = 0;
  for (const float w : weights) peak = std::abs(w) > std::abs(peak) ? w : peak;
  return peak;
}

// Scales from `whole` times 1.2 down to 0.5 of it, of either sign. Those that cannot be stored are left out.
template <class F>
constexpr std::size_t ProposeSignedScales(GroupParams whole, std::span<GroupParams, kMaxProposals> out) noexcept {
  std::size_t count = 0;
  out[count++] = whole;
  for (int percent = 120; percent >= 50; percent -= 2) {
    for (int side = 1; side >= -1; side -= 2) {
      GroupParams params = whole;
      params.scale = F::RoundScale(static_cast<float>(side) * whole.scale * static_cast<float>(percent) / 100.0f, {});
      if (params.scale != 0) out[count++] = params;
    }
  }
  return count;
}

template <std::uint16_t kId, FormatName kName, int kGroup, int kBits>
struct SymmetricInt : NoBias, NoUnits {
  static constexpr int kZero = 1 << (kBits - 1);
  static constexpr FormatInfo kInfo{.id = kId,
                                    .name = kName.view(),
                                    .family = kBits == 4 ? "int4" : "int5",
                                    .label = kBits == 4 ? "INT4 symmetric" : "INT5 symmetric",
                                    .code_bits = kBits,
                                    .group = kGroup,
                                    .scale_bits = 16,
                                    .zero_point_bits = 0,
                                    .fixed_zero_point = kZero,
                                    .common = false};

  // The peak gets code 0, which is farthest from 0.
  static constexpr GroupParams Fit(std::span<const float> weights, std::span<const float>) noexcept {
    return {.scale = RoundScale(PeakOf(weights) / static_cast<float>(-kZero), {}), .zero_point = kZero};
  }
  static constexpr std::size_t Propose(std::span<const float> weights,
                                       std::span<GroupParams, kMaxProposals> out) noexcept {
    return ProposeSignedScales<SymmetricInt>(Fit(weights, {}), out);
  }
  static constexpr float RoundScale(float wanted, const GroupParams&) noexcept { return RoundToHalf(wanted); }
  static constexpr std::uint32_t Round(float weight, const GroupParams& params) noexcept {
    return RoundInteger(weight, params, 2 * kZero - 1);
  }
  static constexpr float Decode(std::uint32_t code, const GroupParams& params) noexcept {
    return DecodeInteger(code, params);
  }
};

}  // namespace marlin
