// llama.cpp's K-quants: super-blocks of 256 weights of a row with fp16 units, groups whose scales (and biases) are
// small multiples of them.
//
//   KAffine    weight = scale * code + bias    groups of 32; scale and bias are 6 bits times a unit, bias <= 0
//              (Q4_K, Q5_K)
//   KSymmetric weight = scale * (code - 32)    groups of 16; the scale is a signed byte times a unit (Q6_K)
#pragma once

#include <algorithm>
#include <cmath>

#include "formats/affine.h"
#include "formats/format.h"
#include "formats/integers.h"

namespace marlin {

inline constexpr int kSuperBlock = 256;

// The unit with which the largest of some numbers is `steps` of it; never 0.
constexpr std::uint16_t UnitFor(float largest, float steps) noexcept {
  const std::uint16_t half = FloatToHalf(Clamped(largest / steps, 0, kHalfMax));
  return half == 0 ? std::uint16_t{1} : half;
}

// The nearest of `least` .. `most` units.
constexpr float RoundToUnits(float wanted, float unit, float least, float most) noexcept {
  return RoundHalfEven(Clamped(wanted / unit, least, most)) * unit;
}

template <std::uint16_t kId, FormatName kName, int kBits, FormatName kFallback>
struct KAffine {
  static constexpr FormatInfo kInfo{.id = kId,
                                    .name = kName.view(),
                                    .family = kBits == 4 ? "k4" : "k5",
                                    .label = kBits == 4 ? "INT4 in super-blocks" : "INT5 in super-blocks",
                                    .code_bits = kBits,
                                    .group = 32,
                                    .scale_bits = 6,
                                    .zero_point_bits = 0,
                                    .scale_type = ScaleType::kUint6,
                                    .bias_bits = 6,
                                    .unit_scope = UnitScope::kBlock,
                                    .block = kSuperBlock,
                                    .fallback = kFallback.view(),
                                    .common = false};
  static constexpr float kMost = (1 << kBits) - 1;
  static constexpr float kSteps = 63;

  // The bias cannot be positive, so the range includes 0.
  static constexpr Range RangeOf(std::span<const float> weights) noexcept {
    const Range range = marlin::RangeOf(weights);
    return {std::min(range.low, 0.0f), std::max(range.high, 0.0f)};
  }
  static constexpr GroupParams Fit(std::span<const float> weights, std::span<const float>) noexcept {
    return FitRange<KAffine>(RangeOf(weights), kMost);
  }
  static constexpr std::size_t Propose(std::span<const float> weights,
                                       std::span<GroupParams, kMaxProposals> out) noexcept {
    return ProposeRanges<KAffine>(RangeOf(weights), kMost, out);
  }
  static constexpr float RoundScale(float wanted, const GroupParams& like) noexcept {
    if (!(wanted > 0)) return 0;
    if (like.scale_unit == 0) return Clamped(wanted, 0, kHalfMax);
    return RoundToUnits(wanted, HalfToFloat(like.scale_unit), 0, kSteps);
  }
  static constexpr float RoundBias(float wanted, const GroupParams& like) noexcept {
    if (!(wanted < 0)) return 0;
    if (like.bias_unit == 0) return Clamped(wanted, -kHalfMax, 0);
    return RoundToUnits(wanted, HalfToFloat(like.bias_unit), 0, kSteps);
  }
  static constexpr void Settle(std::span<GroupParams> groups) noexcept {
    float scale = 0;
    float bias = 0;
    for (const GroupParams& group : groups) {
      scale = std::max(scale, group.scale);
      bias = std::max(bias, -group.bias);
    }
    for (GroupParams& group : groups) {
      group.scale_unit = UnitFor(scale, kSteps);
      group.bias_unit = static_cast<std::uint16_t>(UnitFor(bias, kSteps) | 0x8000);
      group.scale = RoundScale(group.scale, group);
      group.bias = RoundBias(group.bias, group);
    }
  }
  static constexpr std::uint32_t Round(float weight, const GroupParams& params) noexcept {
    return RoundInteger(weight, params, kMost);
  }
  static constexpr float Decode(std::uint32_t code, const GroupParams& params) noexcept {
    return DecodeAffine(code, params);
  }
};

template <std::uint16_t kId, FormatName kName, FormatName kFallback>
struct KSymmetric : NoBias {
  static constexpr int kZero = 32;
  static constexpr FormatInfo kInfo{.id = kId,
                                    .name = kName.view(),
                                    .family = "k6",
                                    .label = "INT6 in super-blocks",
                                    .code_bits = 6,
                                    .group = 16,
                                    .scale_bits = 8,
                                    .zero_point_bits = 0,
                                    .scale_type = ScaleType::kInt8,
                                    .fixed_zero_point = kZero,
                                    .unit_scope = UnitScope::kBlock,
                                    .block = kSuperBlock,
                                    .fallback = kFallback.view(),
                                    .common = false};
  static constexpr float kSteps = 127;

  static constexpr GroupParams Fit(std::span<const float> weights, std::span<const float>) noexcept {
    return {.scale = RoundScale(PeakOf(weights) / static_cast<float>(-kZero), {}), .zero_point = kZero};
  }
  static constexpr std::size_t Propose(std::span<const float> weights,
                                       std::span<GroupParams, kMaxProposals> out) noexcept {
    return ProposeSignedScales<KSymmetric>(Fit(weights, {}), out);
  }
  static constexpr float RoundScale(float wanted, const GroupParams& like) noexcept {
    if (like.scale_unit == 0) return Clamped(wanted, -kHalfMax, kHalfMax);
    return RoundToUnits(wanted, HalfToFloat(like.scale_unit), -kSteps, kSteps);
  }
  static constexpr void Settle(std::span<GroupParams> groups) noexcept {
    float largest = 0;
    for (const GroupParams& group : groups) largest = std::max(largest, std::abs(group.scale));
    for (GroupParams& group : groups) {
      group.scale_unit = UnitFor(largest, kSteps);
      group.scale = RoundScale(group.scale, group);
    }
  }
  static constexpr std::uint32_t Round(float weight, const GroupParams& params) noexcept {
    return RoundInteger(weight, params, 2 * kZero - 1);
  }
  static constexpr float Decode(std::uint32_t code, const GroupParams& params) noexcept {
    return DecodeInteger(code, params);
  }
};

}  // namespace marlin
