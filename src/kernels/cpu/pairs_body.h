// Activations in bf16: packing, and what the dot products of pairs have in common (dots_body.h). Included after an
// instruction set's words.h. How it rounds is a struct:
//
//   kColumns          columns that are rounded together, a divisor of kSumLength
//   Pairs(x, count)   their words; columns from `count` on are 0 and are not read
//   SumOf(words)      the sum of the rounded columns
#pragma once

#include "kernels/cpu/packed_input.h"

namespace marlin {
namespace {

struct PairSums {
  static constexpr int kStepWords = 4;
  using Sum = Vec;
  template <int T>
  using TokenParams = InputSumsOf<T>;
  static std::size_t WordsOfToken(std::size_t k) { return PairWords(k); }
  static Sum Start() { return Zero(); }
  static float First(Sum sum) { return marlin::First(sum); }
  template <int T>
  static TokenParams<T> Params(const std::uint32_t* packed, std::size_t cols, std::size_t begin, std::size_t length) {
    return {packed + (cols + 7) / 8 * kStepWords * T, begin, length};
  }
  template <int T>
  static Vec Value(Sum sum, Vec offset, const TokenParams<T>& token, int t) {
    return Fnma(offset, Broadcast(token.at + t), sum);
  }
};

template <class Rounding>
void PackPairs(const float* x, std::size_t x_stride, std::size_t m, std::size_t k, std::uint32_t* words) noexcept {
  constexpr std::size_t kColumns = Rounding::kColumns;
  static_assert(kSumLength % kColumns == 0);
  const std::size_t pairs = (k + 7) / 8 * 4;
  for (std::size_t t = 0; t < m; ++t) {
    const float* const row = x + t * x_stride;
    const TokenPlace place = PlaceOfToken(t, m, PairWords(k));
    std::uint32_t* const to = words + place.offset;
    float sum = 0;
    for (std::size_t i = 0; i < k; i += kColumns) {
      const Words some = Rounding::Pairs(row + i, k - i);
      StoreApart(some, pairs - i / 2, to + i / 2 * place.width, place.width);
      sum += Rounding::SumOf(some);
      if (!EndsSum(i, kColumns, k)) continue;
      PutFloat(to + (pairs + i / kSumLength) * place.width, sum);
      sum = 0;
    }
  }
}

}  // namespace
}  // namespace marlin
