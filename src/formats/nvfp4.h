// NVFP4: FP4 E2M1 in groups of kGroup weights; the scale of a group is an E4M3 number times a unit of the whole matrix.
//
//   code, 4 bits: as fp4.h          weight = unit * E4M3 * value
//
// The unit is a power of two, so that every program computes the same weights; 1 where kUnitIsOne, for programs whose
// files have no place for it (MLX).
#pragma once

#include "formats/fp4.h"
#include "formats/scale.h"

namespace marlin {

constexpr float RoundScaleToE4m3(float wanted, float unit) noexcept {
  return E4m3ToFloat(FloatToE4m3(wanted / unit)) * unit;
}

template <std::uint16_t kId, FormatName kName, int kGroup, bool kUnitIsOne>
struct Nvfp4 : NoBias {
  static constexpr FormatInfo kInfo{.id = kId,
                                    .name = kName.view(),
                                    .family = "fp4",
                                    .label = "FP4 E2M1, E4M3 scales",
                                    .code_bits = 4,
                                    .group = kGroup,
                                    .scale_bits = 8,
                                    .zero_point_bits = 0,
                                    .scale_type = ScaleType::kE4m3,
                                    .unit_scope = kUnitIsOne ? UnitScope::kNone : UnitScope::kMatrix,
                                    .common = false};
  // Products of both ends of E4M3 with these units are numbers of fp16.
  static constexpr int kLeastUnitExponent = -15;
  static constexpr int kLargestUnitExponent = 7;

  static constexpr float UnitOf(const GroupParams& params) noexcept {
    return kUnitIsOne ? 1 : HalfToFloat(params.scale_unit);
  }

  static constexpr GroupParams Fit(std::span<const float> weights, std::span<const float>) noexcept {
    return {.scale = RoundScale(FitE2m1(weights), {})};
  }
  static constexpr std::size_t Propose(std::span<const float> weights,
                                       std::span<GroupParams, kMaxProposals> out) noexcept {
    return ProposeE2m1<Nvfp4>(weights, out);
  }
  static constexpr float RoundScale(float wanted, const GroupParams& like) noexcept {
    const float unit = UnitOf(like);
    return unit == 0 ? RoundScaleToHalf(wanted) : RoundScaleToE4m3(wanted, unit);
  }
  // The least unit with which E4M3 reaches the largest scale: so the small ones keep as many bits as they can.
  static constexpr void Settle(std::span<GroupParams> groups) noexcept {
    if (kUnitIsOne) return;
    float largest = 0;
    for (const GroupParams& group : groups) largest = std::max(largest, group.scale);
    int exponent = kLeastUnitExponent;
    while (exponent < kLargestUnitExponent && largest > kE4m3Max * PowerOfTwo(exponent)) ++exponent;
    for (GroupParams& group : groups) {
      group.scale_unit = FloatToHalf(PowerOfTwo(exponent));
      group.scale = RoundScale(group.scale, group);
    }
  }
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
