// Integers with a stored bias where x is rounded: weight = scale * code + bias. Part of dots_body.h, which has the
// interface. A group's header is [64 fp16 scales][64 fp16 biases].
//
// As with stored zero points, weight = scale * (code - zero point), but -bias / scale is no integer. It is split into
// `whole`, the nearest of 0 to 15, for which words and offsets of integers serve, and `rest`, which is subtracted in
// fp32. No weight of the group is smaller than scale * rest (beyond a rounding), so that its rounding stays small.
#pragma once

#include "kernels/cpu/offset_body.h"
#include "kernels/layout.h"

namespace marlin {
namespace {

struct SplitZero {
  Vec whole;
  Vec rest;
};

// 0 where the scale is 0; the bias is 0 there.
inline SplitZero ZeroOfBias(const std::uint8_t* header, int row) {
  const Vec scale = GroupScale(header, row);
  const Vec minus_bias = Sub(Zero(), GroupScale(header + 2 * kPanelRows, row));
  const Vec size = Max(scale, Sub(Zero(), scale));
  const Vec inverse = Div(Set(1.0f), SelectBelow(Zero(), size, scale, Set(1.0f)));
  const Vec whole = Min(Max(Round(Mul(minus_bias, inverse)), Zero()), Set(15.0f));
  return {whole, Mul(Fnma(scale, whole, minus_bias), inverse)};
}

// Code: integers with zero points of 4 bits; its OffsetsOf(zero points) is what its own Offset gives for them.
template <class Code>
struct BiasedDots : Code {
  static auto Offset(const std::uint8_t* header, int row) {
    const SplitZero zero = ZeroOfBias(header, row);
    return SplitOffset{Code::OffsetsOf(Nearest(zero.whole)), zero.rest};
  }
};

}  // namespace
}  // namespace marlin
