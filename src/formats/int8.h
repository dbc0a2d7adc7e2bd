// INT8 symmetric: one fp16 scale per group of kGroup weights.
//
//   code, 8 bits:  two's complement, -127..127          weight = scale * code
#pragma once

#include <algorithm>
#include <cmath>

#include "formats/format.h"
#include "formats/integers.h"

namespace marlin {

template <std::uint16_t kId, FormatName kName, int kGroup, bool kCommon = true>
struct Int8 : NoBias, NoUnits {
  static constexpr FormatInfo kInfo{.id = kId,
                                    .name = kName.view(),
                                    .family = "int8",
                                    .label = "INT8 symmetric",
                                    .code_bits = 8,
                                    .group = kGroup,
                                    .scale_bits = 16,
                                    .zero_point_bits = 0,
                                    .common = kCommon};

  static constexpr GroupParams Fit(std::span<const float> weights, std::span<const float>) noexcept {
    float peak = 0;
    for (const float w : weights) peak = std::max(peak, std::abs(w));
    return {.scale = RoundScale(peak / 127.0f, {})};
  }

  // The peak cut off by up to three tenths.
  static constexpr std::size_t Propose(std::span<const float> weights,
                                       std::span<GroupParams, kMaxProposals> out) noexcept {
    const GroupParams whole = Fit(weights, {});
    std::size_t count = 0;
    out[count++] = whole;
    for (int percent = 98; percent >= 70; percent -= 2) {
      out[count++] = {.scale = RoundScale(whole.scale * static_cast<float>(percent) / 100.0f, {})};
    }
    return count;
  }

  static constexpr float RoundScale(float wanted, const GroupParams&) noexcept { return RoundScaleToHalf(wanted); }

  static constexpr std::uint32_t Round(float weight, const GroupParams& params) noexcept {
    if (params.scale == 0) return 0;
    const float code = RoundHalfEven(Clamped(weight / params.scale, -127, 127));
    return static_cast<std::uint8_t>(static_cast<std::int8_t>(code));
  }

  static constexpr float Decode(std::uint32_t code, const GroupParams& params) noexcept {
    return static_cast<float>(static_cast<std::int8_t>(code)) * params.scale;
  }
};

}  // namespace marlin
