// What a weight matrix is divided by before its numbers become the fp16 operand of many.h, and how its scales and
// biases become fp16 factors then. Needs nothing of CUDA.
//
// A number of the matrix is number of the code x scale + bias. The kernel has the number of the code, divided by
// PowerOfMany, as an exact fp16 number. It multiplies that by scale x PowerOfMany / power and adds bias / power, in one
// instruction. `power` is the least power of two for which these factors and the results are below 2^15. So:
//
// - fp16 scales and biases stay exact. Scales of kUnits, a byte x an fp16 number, are rounded to fp16, as are biases:
//   an error of at most 2^-11 of either. Those of kE8m0 and kE4m3 are exact.
// - The result is rounded once: an error of at most 2^-11 of a number of the matrix.
// - Factors and results below 2^-14 lose bits: an error of at most 2^-25 x power each, for a unit of biases times its
//   byte. 2^-25 x power is at most 2^-39 of the largest number or 2^-39 x PowerOfMany of the largest scale, whichever
//   is more: for 4-bit integers 2^-21 of that scale.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/cuda/few_decode.h"

namespace marlin::cuda {

// Bytes become whole numbers, which use more of fp16's range than those of few.h.
constexpr bool AreWhole(FewCoding coding) { return coding == FewCoding::kInt8 || coding == FewCoding::kIq4; }
constexpr float PowerOfMany(FewCoding coding) { return AreWhole(coding) ? 1 : PowerOfNumbers(coding); }

// fp16 scales are multiplied by two powers of two that are fp16 numbers, which raise them by at most 2^30.
inline constexpr int kRaisedByOne = 15, kMostRaised = 2 * kRaisedByOne;
// Those of E8M0 are multiplied as fp32 numbers.
inline constexpr int kMostRaisedFloat = 100;

// number: the largest of the matrix, or a bound. scale: the largest scale, and unit of scales.
inline float ManyPowerOf(const FewFormat& format, float unit, float number, float scale) {
  const float of_numbers = PowerOfMany(format.coding);
  if (format.scale == FewScale::kE4m3) return of_numbers * unit;  // E2M1 x E4M3 is exact in fp16
  const double most = std::max<double>(number, static_cast<double>(scale) * static_cast<double>(of_numbers));
  if (!(most > 0) || !std::isfinite(most)) return of_numbers;
  const int most_raised = format.scale == FewScale::kE8m0 ? kMostRaisedFloat : kMostRaised;
  return static_cast<float>(std::ldexp(1.0, std::max(std::ilogb(most) + 1 - 15, std::ilogb(of_numbers) - most_raised)));
}

struct ManyFactors {
  float scale = 1;               // PowerOfMany / power
  std::uint32_t scales[2] = {};  // the same as a product of two fp16 numbers, each twice in a word
  std::uint32_t biases = 0;      // 1 / power
};
inline ManyFactors FactorsOf(FewCoding coding, float power) {
  ManyFactors out;
  out.scale = PowerOfMany(coding) / power;
  const int raised = std::ilogb(out.scale), first = std::min(raised, kRaisedByOne);
  out.scales[0] = TwoHalves(std::ldexp(1.0f, first));
  out.scales[1] = TwoHalves(std::ldexp(1.0f, std::min(raised - first, kRaisedByOne)));
  out.biases = TwoHalves(1 / power);
  return out;
}

}  // namespace marlin::cuda
