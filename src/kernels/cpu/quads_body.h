// Activations in int8: packing, and what the dot products of quads have in common (dots_body.h). The including folder's
// words.h defines, besides words,
//
//   Whole, ZeroWhole(), AddWhole(a, b)   vectors of int32
//   ReduceWhole(a), FirstWhole(a)        the sum of all lanes, one of them
//   Nearest(vec), ToFloats(whole)        Nearest: ties to even
//   StoreBytes(p, whole)                 one byte per lane
#pragma once

#include "kernels/cpu/packed_input.h"

namespace marlin {
namespace {

struct QuadSums {
  static constexpr int kStepWords = 2;
  using Sum = Whole;
  template <int T>
  struct TokenParams {
    const float* scales;
    InputSumsOf<T> sums;
  };
  static std::size_t WordsOfToken(std::size_t k) { return QuadWords(k); }
  static Sum Start() { return ZeroWhole(); }
  static float First(Sum sum) { return static_cast<float>(FirstWhole(sum)); }
  template <int T>
  static TokenParams<T> Params(const std::uint32_t* packed, std::size_t cols, std::size_t begin, std::size_t length) {
    const std::uint32_t* const scales = packed + (cols + 7) / 8 * kStepWords * T;
    return {reinterpret_cast<const float*>(scales) + begin / kQuadGroup * T,
            {scales + QuadGroups(cols) * T, begin, length}};
  }
  // At most 255 x 127 x 128 < 2^23 before the offset is subtracted: exact.
  template <int T>
  static Vec Value(Sum sum, Vec offset, const TokenParams<T>& token, int t) {
    const Vec whole = Fnma(offset, Broadcast(token.sums.at + t), ToFloats(sum));
    return Mul(whole, Broadcast(token.scales + t));
  }
};

// The largest |x|; NaN where one is not finite.
inline float PeakOf(const float* x, std::size_t length) {
  Vec peaks = Zero();
  Vec unbounded = Zero();
  for (std::size_t i = 0; i < length; i += kLanes) {
    const Vec a = LoadUpTo(x + i, length - i);
    unbounded = Fma(a, Zero(), unbounded);  // infinity times 0 is NaN
    peaks = Max(Max(a, Sub(Zero(), a)), peaks);
  }
  return ReduceMax(peaks) + ReduceAdd(unbounded);
}

// One token, its words `width` apart.
inline void PackToken(const float* x, std::size_t k, std::uint32_t* to, std::size_t width) {
  constexpr float kLeastPeak = 1e-36f;  // smaller ones are 0, so that 127 / peak is finite
  const std::size_t words = (k + 7) / 8 * 2;
  float inverse = 0;
  Whole sum = ZeroWhole();
  for (std::size_t i = 0; i < words * 4; i += kLanes) {
    if (i % kQuadGroup == 0) {
      const float peak = PeakOf(x + i, k - i < kQuadGroup ? k - i : kQuadGroup);
      inverse = peak > kLeastPeak ? 127 / peak : 0.0f;
      PutFloat(to + (words + i / kQuadGroup) * width, peak / 127);
    }
    const Vec scaled = i < k ? Mul(LoadUpTo(x + i, k - i), Set(inverse)) : Zero();
    const Whole whole = Nearest(scaled);
    std::uint32_t quads[kLanes / 4];
    StoreBytes(quads, whole);
    for (std::size_t w = i / 4; w < (i + kLanes) / 4 && w < words; ++w) to[w * width] = quads[w - i / 4];
    sum = AddWhole(sum, whole);
    if (!EndsSum(i, kLanes, words * 4)) continue;
    PutFloat(to + (words + QuadGroups(k) + i / kSumLength) * width, static_cast<float>(ReduceWhole(sum)));
    sum = ZeroWhole();
  }
}

void PackQuads(const float* x, std::size_t x_stride, std::size_t m, std::size_t k, std::uint32_t* words) noexcept {
  for (std::size_t t = 0; t < m; ++t) {
    const TokenPlace place = PlaceOfToken(t, m, QuadWords(k));
    PackToken(x + t * x_stride, k, words + place.offset, place.width);
  }
}

}  // namespace
}  // namespace marlin
