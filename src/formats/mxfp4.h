// MXFP4 (OCP MX v1.0): FP4 E2M1 with one power of two as the scale of 32 weights.
//
//   code, 4 bits: as fp4.h          weight = 2^e * value
#pragma once

#include "formats/fp4.h"
#include "formats/scale.h"

namespace marlin {

template <std::uint16_t kId, FormatName kName, int kGroup>
struct Mxfp4 : NoBias, NoUnits {
  static constexpr FormatInfo kInfo{.id = kId,
                                    .name = kName.view(),
                                    .family = "fp4",
                                    .label = "FP4 E2M1, E8M0 scales",
                                    .code_bits = 4,
                                    .group = kGroup,
                                    .scale_bits = 8,
                                    .zero_point_bits = 0,
                                    .scale_type = ScaleType::kE8m0,
                                    .common = false};

  // The exponent of the largest magnitude minus 2, the exponent of 6 (section 6.3): the peak lands in [4, 8), where
  // everything above 6 is cut off.
  static constexpr int ExponentOf(std::span<const float> weights) noexcept {
    float peak = 0;
    for (const float w : weights) peak = std::max(peak, std::abs(w));
    const int wanted = FloorLog2(peak) - 2;
    return std::min(std::max(wanted, int{kLeastScaleExponent}), int{kLargestScaleExponent});
  }
  static constexpr GroupParams Fit(std::span<const float> weights, std::span<const float>) noexcept {
    return {.scale = PowerOfTwo(ExponentOf(weights))};
  }
  // One twice as large, which cuts nothing off, and one half as large.
  static constexpr std::size_t Propose(std::span<const float> weights,
                                       std::span<GroupParams, kMaxProposals> out) noexcept {
    const int exponent = ExponentOf(weights);
    std::size_t count = 0;
    const int tried[] = {exponent, exponent + 1, exponent - 1};
    for (const int own : tried) {
      if (own >= kLeastScaleExponent && own <= kLargestScaleExponent) out[count++] = {.scale = PowerOfTwo(own)};
    }
    return count;
  }
  static constexpr float RoundScale(float wanted, const GroupParams&) noexcept { return RoundScaleToE8m0(wanted); }
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
