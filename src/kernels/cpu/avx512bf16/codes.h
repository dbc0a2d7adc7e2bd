// Pairs of bf16 on AVX-512: rounding activations, decoding weights (pairs_body.h and dots_body.h have the interfaces,
// layout.h the picture).
#pragma once

#include "kernels/cpu/avx512/codes.h"
#include "kernels/cpu/avx512/words.h"
// The body comes after the words it is written in.
#include "kernels/cpu/pairs_body.h"

namespace marlin {
namespace {

// Puts 32 columns into the order of their pairs.
inline __m512i PairOrder() {
  return _mm512_set_epi16(31, 29, 27, 25, 30, 28, 26, 24, 23, 21, 19, 17, 22, 20, 18, 16, 15, 13, 11, 9, 14, 12, 10, 8,
                          7, 5, 3, 1, 6, 4, 2, 0);
}

struct PairDots : PairSums, DotShape {
  static Sum Add(Sum sum, Words weights, Words x) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(weights), reinterpret_cast<__m512bh>(x));
  }
};

struct PairCode {
  using Dots = PairDots;
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

// Nibbles are indices of a table of 16 bf16. The permutation uses 5 bits of an index; the table is stored twice, so
// bit 4 needs no mask.
template <class Table>
struct TablePairs : PairCode {
  static constexpr std::size_t kStepBytes = 256;
  template <int kPair>
  static Words Word(const std::uint8_t* bytes) {
    return _mm512_permutexvar_epi16(MovePairDown<kPair>(bytes), _mm512_broadcast_i64x4(Table::Values()));
  }
};

// 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives
struct Fp4PairTable {
  static __m256i Values() {
    return _mm256_setr_epi16(0x0000, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0,  //
                             -0x8000, -0x4100, -0x4080, -0x4040, -0x4000, -0x3fc0, -0x3f80, -0x3f40);
  }
};
using Fp4Pairs = TablePairs<Fp4PairTable>;

// -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113
struct Iq4PairTable {
  static __m256i Values() {
    return _mm256_setr_epi16(-0x3d02, -0x3d30, -0x3d5a, -0x3d7e, -0x3dbc, -0x3df4, -0x3e50, -0x3ee0,  //
                             0x3f80, 0x4150, 0x41c8, 0x4218, 0x4254, 0x428a, 0x42b2, 0x42e2);
  }
};
using Iq4Pairs = TablePairs<Iq4PairTable>;

// -8 to 7
struct Int4PairTable {
  static __m256i Values() {
    return _mm256_setr_epi16(-0x3f00, -0x3f20, -0x3f40, -0x3f60, -0x3f80, -0x3fc0, -0x4000, -0x4080,  //
                             0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0);
  }
};

// Words hold code - 8; zero point - 8 times the sum of x is subtracted from sums, which is cheaper than from weights.
struct Int4Pairs : TablePairs<Int4PairTable> {
  static constexpr float kWordZero = 8;
  static Vec Offset(const std::uint8_t* header, int row) {
    return Sub(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(LoadBytes16(header + 128 + row))), Set(8.0f));
  }
};

struct Int8Pairs : PairCode {
  static constexpr std::size_t kStepBytes = 512;
  // Integers up to 256 are exact in bf16: the upper half of their fp32.
  template <int kPair>
  static Words Word(const std::uint8_t* bytes) {
    constexpr int kFirst = kPairs[kPair][0];
    const __m512i word = LoadBytes64(bytes + kFirst / 4 * 256);
    const __m512i low = FloatBits(word, kFirst % 4);
    const __m512i high = FloatBits(word, kFirst % 4 + 2);
    return _mm512_or_si512(_mm512_srli_epi32(low, 16), high);
  }

 private:
  static __m512i FloatBits(__m512i word, int byte) {
    const __m512i up = _mm512_slli_epi32(word, static_cast<unsigned>(24 - 8 * byte));
    return _mm512_castps_si512(_mm512_cvtepi32_ps(_mm512_srai_epi32(up, 24)));
  }
};

struct Bf16Pairs : PairCode {
  static constexpr std::size_t kStepBytes = 1024;
  template <int kPair>
  static Words Word(const std::uint8_t* bytes) {
    return LoadBytes64(bytes + 256 * kPair);
  }
  static Vec Scale(const std::uint8_t*, int) { return Set(1.0f); }
};

struct PairRounding {
  static constexpr std::size_t kColumns = 32;
  static Words Pairs(const float* x, std::size_t count) {
    __m512 low, high;
    if (count >= 32) {
      low = _mm512_loadu_ps(x);
      high = _mm512_loadu_ps(x + 16);
    } else {
      const auto mask = static_cast<std::uint32_t>((std::uint64_t{1} << count) - 1);
      low = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), x);
      high = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), x + 16);
    }
    return _mm512_permutexvar_epi16(PairOrder(), reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
  }
  static float SumOf(Words pairs) {
    const __m512 low = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    const __m512 high = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(-65536)));
    return ReduceAdd(Add(low, high));
  }
};

}  // namespace
}  // namespace marlin
