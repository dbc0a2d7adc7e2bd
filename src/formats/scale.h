// How the scale of a group is stored. In memory every scale is fp16, which holds all of them exactly.
//
//   fp16   16 bits
//   E8M0    8 bits: 2^(byte - 127), as in OCP MX v1.0, section 5.4.1; only 2^-24 .. 2^15, which fp16 holds as well
//
// A byte outside of that range never comes from this program.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "base/half.h"

namespace marlin {

enum class ScaleType : std::uint8_t { kFp16, kE8m0 };

inline constexpr int kE8m0Bias = 127;
inline constexpr int kLeastScaleExponent = -24;   // fp16's least power of two
inline constexpr int kLargestScaleExponent = 15;  // and its largest

// fp16 bits of 2^exponent, within the limits above.
constexpr std::uint16_t HalfOfExponent(int exponent) {
  return static_cast<std::uint16_t>(exponent >= -14 ? (exponent + 15) << 10 : 1 << (exponent + 24));
}

constexpr bool IsE8m0InRange(std::uint8_t byte) {
  return byte >= kE8m0Bias + kLeastScaleExponent && byte <= kE8m0Bias + kLargestScaleExponent;
}

// 0 stands for bytes that are out of range: it is what a matrix without values holds.
constexpr std::uint16_t E8m0ToHalf(std::uint8_t byte) {
  return IsE8m0InRange(byte) ? HalfOfExponent(byte - kE8m0Bias) : std::uint16_t{0};
}

// half: 0 or a power of two.
constexpr std::uint8_t HalfToE8m0(std::uint16_t half) {
  if (half == 0) return 0;
  const int exponent = half >> 10 != 0 ? (half >> 10) - 15 : std::bit_width(half) - 25;
  return static_cast<std::uint8_t>(exponent + kE8m0Bias);
}

// The stored scale nearest to `wanted`, as fp16 bits; 0 where there is none: the format has no scale of this sign, or
// none so small. Too large ones become the largest.
inline std::uint16_t RoundScaleToHalf(float wanted) noexcept {
  return wanted > 0 ? FloatToHalf(std::min(wanted, kHalfMax)) : std::uint16_t{0};
}

inline std::uint16_t RoundScaleToSignedHalf(float wanted) noexcept {
  const std::uint16_t magnitude = RoundScaleToHalf(std::abs(wanted));
  return static_cast<std::uint16_t>(magnitude != 0 && wanted < 0 ? magnitude | 0x8000 : magnitude);
}

inline std::uint16_t RoundScaleToE8m0(float wanted) noexcept {
  if (!(wanted > 0)) return 0;
  int exponent = 0;
  const float fraction = std::frexp(std::min(wanted, kHalfMax), &exponent);  // [0.5, 1) 2^exponent
  exponent -= fraction > 0.75f ? 0 : 1;
  if (exponent < kLeastScaleExponent) return 0;
  return HalfOfExponent(std::min(exponent, kLargestScaleExponent));
}

}  // namespace marlin
