// Activations in int16: packing, and what the dot products of pairs of them have in common (dots_body.h). Included
// after an instruction set's words.h. How it packs is a struct with Join(low, high): the words of 2 kLanes whole
// numbers of 16 bits, in the order of their pairs.
#pragma once

#include "kernels/cpu/wholes_body.h"

namespace marlin {
namespace {

// Sums are at most 128 x 32768 x 128 = 2^29: exact. They are rounded once, to fp32.
struct WholePairSums : WholeSums<4> {
  static std::size_t WordsOfToken(std::size_t k) { return WholePairWords(k); }
};

template <class Packing>
void PackWholePairs(const float* x, std::size_t x_stride, std::size_t m, std::size_t k, std::uint32_t* words) noexcept {
  constexpr std::size_t kColumns = 2 * kLanes;
  static_assert(kSumLength % kColumns == 0);
  const std::size_t pairs = (k + 7) / 8 * 4;
  for (std::size_t t = 0; t < m; ++t) {
    const float* const row = x + t * x_stride;
    const TokenPlace place = PlaceOfToken(t, m, WholePairWords(k));
    std::uint32_t* const to = words + place.offset;
    Vec inverse = Zero();
    Whole sum = ZeroWhole();
    for (std::size_t i = 0; i < k; i += kColumns) {
      if (i % kScaleLength == 0) {
        const InputScale scale(row + i, k - i, 32767);
        inverse = Set(scale.inverse);
        PutFloat(to + (pairs + i / kScaleLength) * place.width, scale.scale);
      }
      const Whole low = Nearest(Mul(LoadUpTo(row + i, k - i), inverse));
      const std::size_t next = i + kLanes;
      const Whole high = k > next ? Nearest(Mul(LoadUpTo(row + next, k - next), inverse)) : ZeroWhole();
      sum = AddWhole(sum, AddWhole(low, high));
      StoreApart(Packing::Join(low, high), pairs - i / 2, to + i / 2 * place.width, place.width);
      if (!EndsSum(i, kColumns, k)) continue;
      PutFloat(to + (pairs + InputScales(k) + i / kSumLength) * place.width, static_cast<float>(ReduceWhole(sum)));
      sum = ZeroWhole();
    }
  }
}

}  // namespace
}  // namespace marlin
