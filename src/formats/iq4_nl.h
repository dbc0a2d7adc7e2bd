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
    return CountPassed(weight / params.scale, std::make_index_sequence<kIq4Values.size() - 1>());
  }
  static constexpr float Decode(std::uint32_t code, const GroupParams& params) noexcept {
#ifdef __CUDA_ARCH__
    constexpr auto kValues = kIq4Values;  // kernels cannot read a table of the host
#else
    constexpr const auto& kValues = kIq4Values;
#endif
    return kValues[code & 15u] * params.scale;
  }

 private:
  static constexpr std::uint32_t kZeroCode = 8;

  template <std::size_t... kCodes>
  static constexpr std::uint32_t CountPassed(float x, std::index_sequence<kCodes...>) noexcept {
    return (0u + ... + static_cast<std::uint32_t>(kCodes % 2 == 0 ? x > kMiddle<kCodes> : x >= kMiddle<kCodes>));
  }
  template <std::size_t kCode>
  static constexpr float kMiddle = (kIq4Values[kCode] + kIq4Values[kCode + 1]) / 2;
};

}  // namespace marlin
