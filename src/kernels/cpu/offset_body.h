// What differs between a format's words and its weights, for one vector of rows (dots_body.h): nothing, an offset (a
// Vec, or Words where it takes part in sums of integers), or a bias. Included after an instruction set's words.h;
// everything has internal linkage.
#pragma once

#include "kernels/cpu/tile.h"
#include "kernels/layout.h"

namespace marlin {
namespace {

struct NoOffset {};

// weight = scale * word + bias
struct Bias {
  Vec value;
};

template <class Offset>
constexpr bool kReadsInputSums = true;
template <>
constexpr bool kReadsInputSums<NoOffset> = false;

template <class Offset>
constexpr bool kIsBias = false;
template <>
constexpr bool kIsBias<Bias> = true;

inline void StoreOffset(float*, NoOffset) {}
inline void StoreOffset(float* p, Vec a) { Store(p, a); }
inline void StoreOffset(float* p, Words a) { StoreWords(p, a); }
inline void StoreOffset(float* p, Bias a) { Store(p, a.value); }

inline void LoadOffset(const float*, NoOffset&) {}
inline void LoadOffset(const float* p, Vec& a) { a = Load(p); }
inline void LoadOffset(const float* p, Words& a) { a = LoadWords(reinterpret_cast<const std::uint8_t*>(p)); }
inline void LoadOffset(const float* p, Bias& a) { a.value = Load(p); }

// scale * sum + bias * sum of x. The two cancel where weights are near 0, so the rounding of the second product is
// made up for.
inline Vec WithBias(Vec scale, Vec sum, Bias bias, Vec sum_of_x) {
  const Vec product = Mul(bias.value, sum_of_x);
  return Sub(Fma(scale, sum, product), Fnma(bias.value, sum_of_x, product));
}

// Integers with a stored bias. Code: integers with zero points, whose words are codes - kWordZero; a group's header is
// [64 fp16 scales][64 fp16 biases].
template <class Code>
struct BiasedDots : Code {
  static Bias Offset(const std::uint8_t* header, int row) {
    const Vec bias = GroupScale(header + 2 * kPanelRows, row);
    if constexpr (Code::kWordZero == 0) return {bias};
    return {Fma(GroupScale(header, row), Set(Code::kWordZero), bias)};
  }
};

}  // namespace
}  // namespace marlin
