// llama.cpp's IQ4_NL: codes of 4 bits stand for 16 integers that lie denser near 0; one fp16 scale per kGroup weights.
//
//   weight = scale * value(code)          the scale may be negative; no code is 0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "formats/format.h"
#include "formats/integers.h"

namespace marlin {

inline constexpr std::array<float, 16> kIq4Values = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                     1,    13,   25,  38,  53,  69,  89,  113};

template <std::uint16_t kId, FormatName kName, int kGroup>
struct Iq4Nl : NoBias, NoUnits {
  static constexpr FormatInfo kInfo{.id = kId,
                                    .name = kName.view(),
                                    .family = "iq4",
                                    .label = "4-bit table",
                                    .code_bits = 4,
                                    .group = kGroup,
                                    .scale_bits = 16,
                                    .zero_point_bits = 0,
                                    .common = false};

  // The peak gets the value of the largest magnitude.
  static constexpr GroupParams Fit(std::span<const float> weights, std::span<const float>) noexcept {
    return {.scale = RoundScale(PeakOf(weights) / kIq4Values[0], {})};
  }
  static constexpr std::size_t Propose(std::span<const float> weights,
                                       std::span<GroupParams, kMaxProposals> out) noexcept {
    return ProposeSignedScales<Iq4Nl>(Fit(weights, {}), out);
  }
  static constexpr float RoundScale(float wanted, const GroupParams&) noexcept { return RoundToHalf(wanted); }
  // Halfway points between neighbours are counted; at a tie the even code wins.
  static constexpr std::uint32_t Round(float weight, const GroupParams& params) noexcept {
    if (params.scale == 0) return kZeroCode;
    const float x = weight / params.scale;
    std::uint32_t code = 0;
    ForSteps([&](std::uint32_t before, float middle, float) { code += before % 2 == 0 ? x > middle : x >= middle; });
    return code;
  }
  static constexpr float Decode(std::uint32_t code, const GroupParams& params) noexcept {
    float value = kIq4Values[0];
    ForSteps([&](std::uint32_t before, float, float size) { value += (code & 15u) > before ? size : 0.0f; });
    return value * params.scale;
  }

 private:
  static constexpr std::uint32_t kZeroCode = 8;

  // visit(code, the middle between its value and the next one, their distance) for all codes but the last. All are
  // constants: a kernel of a GPU could not read a table of the host.
  template <class Visit>
  static constexpr void ForSteps(Visit visit) noexcept {
    [&]<std::uint32_t... kCodes>(std::integer_sequence<std::uint32_t, kCodes...>) {
      (
          [&] {
            constexpr float kLow = kIq4Values[kCodes], kHigh = kIq4Values[kCodes + 1];
            visit(kCodes, (kLow + kHigh) / 2, kHigh - kLow);
          }(),
          ...);
    }
    (std::make_integer_sequence<std::uint32_t, kIq4Values.size() - 1>());
  }
};

}  // namespace marlin
