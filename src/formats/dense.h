// FP32, FP16 and BF16 as formats without groups: the code of a weight is its bit pattern.
#pragma once

#include <bit>

#include "base/half.h"
#include "formats/format.h"

namespace marlin {

// What all formats without groups have in common.
struct NoGroups : NoBias, NoUnits {
  static constexpr GroupParams Fit(std::span<const float>, std::span<const float>) noexcept { return {}; }
  static constexpr std::size_t Propose(std::span<const float>, std::span<GroupParams, kMaxProposals> out) noexcept {
    out[0] = {};
    return 1;
  }
  static constexpr float RoundScale(float, const GroupParams&) noexcept { return 0; }
};

struct Fp32 : NoGroups {
  static constexpr FormatInfo kInfo{1, "fp32", "fp32", "FP32", 32, 0, 0, 0};
  static constexpr std::uint32_t Round(float weight, const GroupParams&) noexcept {
    return std::bit_cast<std::uint32_t>(weight);
  }
  static constexpr float Decode(std::uint32_t code, const GroupParams&) noexcept { return std::bit_cast<float>(code); }
};

struct Fp16 : NoGroups {
  static constexpr FormatInfo kInfo{2, "fp16", "fp16", "FP16", 16, 0, 0, 0};
  static constexpr std::uint32_t Round(float weight, const GroupParams&) noexcept { return FloatToHalf(weight); }
  static constexpr float Decode(std::uint32_t code, const GroupParams&) noexcept {
    return HalfToFloat(static_cast<std::uint16_t>(code));
  }
};

struct Bf16 : NoGroups {
  static constexpr FormatInfo kInfo{3, "bf16", "bf16", "BF16", 16, 0, 0, 0};
  static constexpr std::uint32_t Round(float weight, const GroupParams&) noexcept { return FloatToBf16(weight); }
  static constexpr float Decode(std::uint32_t code, const GroupParams&) noexcept {
    return Bf16ToFloat(static_cast<std::uint16_t>(code));
  }
};

}  // namespace marlin
