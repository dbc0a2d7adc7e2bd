// How the scale and the bias of a group are stored. In memory both are fp32, which holds all of them exactly.
//
//   fp16    16 bits
//   bf16    16 bits of fp16, of which 8 are significant: the same number in fp16 and in bf16
//   fp16x7  16 bits of fp16, of which 7 are significant: times a zero point of 4 bits they are exact in fp16
//   E8M0     8 bits: 2^(byte - 127), as in OCP MX v1.0, section 5.4.1; only 2^-24 .. 2^15, as in fp16
//   E4M3     8 bits times a unit: OCP FP8 v1.0, without a sign: 2^-9 .. 448
//   uint6    6 bits times a unit
//   int8     8 bits times a unit
//
// An E8M0 byte outside of that range never comes from this program.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "base/half.h"

namespace marlin {

enum class ScaleType : std::uint8_t { kFp16, kE8m0, kE4m3, kUint6, kInt8 };

inline constexpr int kE8m0Bias = 127;
inline constexpr int kLeastScaleExponent = -24;   // fp16's least power of two
inline constexpr int kLargestScaleExponent = 15;  // and its largest
inline constexpr float kE4m3Max = 448;
inline constexpr std::uint8_t kE4m3MaxByte = 0x7e;

// 2^exponent, within the limits above.
constexpr float PowerOfTwo(int exponent) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
}

constexpr bool IsE8m0InRange(std::uint8_t byte) {
  return byte >= kE8m0Bias + kLeastScaleExponent && byte <= kE8m0Bias + kLargestScaleExponent;
}

// 0 stands for bytes that are out of range: it is what a matrix without values holds.
constexpr float E8m0ToFloat(std::uint8_t byte) { return IsE8m0InRange(byte) ? PowerOfTwo(byte - kE8m0Bias) : 0.0f; }

// scale: 0 or a power of two.
constexpr std::uint8_t FloatToE8m0(float scale) {
  return scale == 0 ? std::uint8_t{0} : static_cast<std::uint8_t>(std::bit_cast<std::uint32_t>(scale) >> 23);
}

// Bytes 0 .. 0x7e.
constexpr float E4m3ToFloat(std::uint8_t byte) {
  const int exponent = byte >> 3;
  const auto mantissa = static_cast<float>(byte & 7);
  return exponent == 0 ? mantissa * 0x1p-9f : (8 + mantissa) * PowerOfTwo(exponent - 10);
}

// The nearest byte, ties to even; negative numbers become 0, too large ones 448.
constexpr std::uint8_t FloatToE4m3(float value) {
  if (!(value > 0)) return 0;
  if (value >= kE4m3Max) return kE4m3MaxByte;
  if (value < 0x1p-6f) return static_cast<std::uint8_t>(std::nearbyint(value * 0x1p9f));
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7ffff + (bits >> 20 & 1)) >> 20;  // [exponent : 8][mantissa : 3]
  return static_cast<std::uint8_t>(rounded - (120u << 3));
}

// How often `value`, a multiple of the unit, counts it: exact. Two's complement where it is negative.
constexpr std::uint32_t MultipleOf(float value, float unit) {
  return static_cast<std::uint32_t>(static_cast<std::int32_t>(value / unit));
}

// `value` rounded to `bits` significant bits, ties to even. Such a number is exact in fp16 within its range.
constexpr float RoundToBits(float value, int bits) noexcept {
  const int dropped = 24 - bits;
  const auto pattern = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t half_less = (1u << dropped >> 1) - 1 + (pattern >> dropped & 1);
  return dropped == 0 ? value : std::bit_cast<float>((pattern + half_less) >> dropped << dropped);
}

// std::clamp by value, as kernels need it: they cannot refer to a constant of the host. Two steps, which compilers turn
// into a maximum and a minimum of vectors.
constexpr float Clamped(float value, float least, float most) noexcept {
  const float enough = value < least ? least : value;
  return most < enough ? most : enough;
}

// floor(log2 |value|) of a normal number; below every exponent of a scale where the number is smaller.
constexpr int FloorLog2(float value) noexcept {
  return static_cast<int>(std::bit_cast<std::uint32_t>(value) >> 23 & 0xff) - 127;
}

// The stored scale nearest to `wanted`; 0 where there is none: the format has no scale of this sign, or none so small.
// Too large ones become the largest.
constexpr float RoundToHalf(float wanted) noexcept {
  return HalfToFloat(FloatToHalf(Clamped(wanted, -kHalfMax, kHalfMax)));
}
constexpr float RoundScaleToHalf(float wanted) noexcept { return wanted > 0 ? RoundToHalf(wanted) : 0.0f; }

constexpr float RoundScaleToE8m0(float wanted) noexcept {
  if (!(wanted > 0)) return 0;
  const int floor = FloorLog2(wanted);
  if (floor >= kLargestScaleExponent) return PowerOfTwo(kLargestScaleExponent);
  if (floor < kLeastScaleExponent - 1) return 0;
  const int exponent = wanted > 1.5f * PowerOfTwo(floor) ? floor + 1 : floor;
  return exponent < kLeastScaleExponent ? 0 : PowerOfTwo(exponent);
}

// At most `bits` significant bits, so many that no rounding reaches infinity.
constexpr float RoundToBitsInHalf(float wanted, int bits) noexcept {
  const float most = 0x1p16f - PowerOfTwo(16 - bits);
  return RoundToHalf(RoundToBits(Clamped(wanted, -most, most), bits));
}

}  // namespace marlin
