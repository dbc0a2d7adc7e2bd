// Pairs of 16-bit numbers on AVX-512: what layout.h's order of columns asks for, whatever the numbers are.
#pragma once

#include "kernels/cpu/avx512/codes.h"
#include "kernels/cpu/avx512/words.h"

namespace marlin {
namespace {

// Puts 32 columns into the order of their pairs.
inline __m512i PairOrder() {
  return _mm512_set_epi16(31, 29, 27, 25, 30, 28, 26, 24, 23, 21, 19, 17, 22, 20, 18, 16, 15, 13, 11, 9, 14, 12, 10, 8,
                          7, 5, 3, 1, 6, 4, 2, 0);
}

// The nibbles of pair kPair are the lowest of both halves of a word moved down by 4 kPair bits. The upper half of a
// product does it: shifts compete with the permutation that follows for the two ports that do either.
template <int kPair>
inline __m512i MovePairDown(const std::uint8_t* bytes) {
  const __m512i word = LoadBytes64(bytes);
  if constexpr (kPair == 0) {
    return word;
  } else {
    return _mm512_mulhi_epu16(word, _mm512_set1_epi16(1 << (16 - 4 * kPair)));
  }
}

}  // namespace
}  // namespace marlin
