// Pairs of int16 on AVX-512 VNNI: rounding activations, decoding weights (whole_pairs_body.h and dots_body.h have the
// interfaces, layout.h the picture).
#pragma once

#include "kernels/cpu/avx512/pairs.h"
// The body comes after the words it is written in.
#include "kernels/cpu/whole_pairs_body.h"

namespace marlin {
namespace {

struct WholePairDots : WholePairSums, DotShape {
  static Sum Add(Sum sum, Words weights, Words x) { return _mm512_dpwssd_epi32(sum, weights, x); }
};

// The permutation looks at 5 bits of an index; a table stands there twice, so bit 4 needs no mask.
inline __m512i Twice(__m256i table) { return _mm512_inserti64x4(_mm512_castsi256_si512(table), table, 1); }

// Values are doubled to be whole numbers; the scale is halved, which is exact.
struct Fp4WholePairs {
  using Dots = WholePairDots;
  static constexpr std::size_t kStepBytes = 256;
  template <int kPair>
  static Words Word(const std::uint8_t* bytes) {
    const __m256i table = _mm256_setr_epi16(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    return _mm512_permutexvar_epi16(MovePairDown<kPair>(bytes), Twice(table));
  }
  static Vec Scale(const std::uint8_t* header, int row) { return Mul(GroupScale(header, row), Set(0.5f)); }
};

// Words hold code - 8; zero point - 8 times the sum of x is subtracted from sums, which is cheaper than from weights.
struct Int4WholePairs {
  using Dots = WholePairDots;
  static constexpr std::size_t kStepBytes = 256;
  template <int kPair>
  static Words Word(const std::uint8_t* bytes) {
    const __m256i table = _mm256_setr_epi16(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    return _mm512_permutexvar_epi16(MovePairDown<kPair>(bytes), Twice(table));
  }
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
  static Vec Offset(const std::uint8_t* header, int row) {
    return Sub(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(LoadBytes16(header + 128 + row))), Set(8.0f));
  }
};

struct Int8WholePairs {
  using Dots = WholePairDots;
  static constexpr std::size_t kStepBytes = 512;
  // A pair is bytes 0 and 2 of a word, or 1 and 3.
  template <int kPair>
  static Words Word(const std::uint8_t* bytes) {
    constexpr int kFirst = kPairs[kPair][0];
    const __m512i word = LoadBytes64(bytes + kFirst / 4 * 256);
    return _mm512_srai_epi16(kFirst % 4 == 0 ? _mm512_slli_epi16(word, 8) : word, 8);
  }
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

struct WholePairPacking {
  static Words Join(Whole low, Whole high) {
    const __m512i both =
        _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtsepi32_epi16(low)), _mm512_cvtsepi32_epi16(high), 1);
    return _mm512_permutexvar_epi16(PairOrder(), both);
  }
};

}  // namespace
}  // namespace marlin
