// Pairs of int16 on AVX-512 VNNI, for many tokens. Decoding weights to 16 bits costs more, but unlike the sums of bytes
// these sums need no joining and, in most formats, no subtraction of an offset (int16_body.h and dots_body.h have the
// interfaces, layout.h the picture).
#pragma once

#include "kernels/cpu/avx512vnni/int16.h"
// The body comes after the words it is written in.
#include "kernels/cpu/dots_body.h"

namespace marlin {
namespace {

// Fewer are faster in bytes.
constexpr std::size_t kLeastPairTokens = 48;

struct PairDots : IntPairSums, DotShape {
  static constexpr std::size_t kChunkLength = 256;
  static Sum Add(Sum sum, Words weights, Words x) { return AddPairs(sum, weights, x); }
};

struct IntPairs {
  using Dots = PairDots;
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

inline __m256i Fp4Pairs() { return _mm256_setr_epi16(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12); }
inline __m256i Iq4Pairs() {
  return _mm256_setr_epi16(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
}

// Nibbles are indices of a table. The permutation uses 5 bits of an index; the table is stored twice, so bit 4 needs no
// mask.
template <__m256i (*Table)()>
struct TableIntPairs : IntPairs {
  static constexpr std::size_t kStepBytes = 256;
  template <int kPair>
  static Words Word(const std::uint8_t* bytes) {
    return _mm512_permutexvar_epi16(MovePairDown<kPair>(bytes), _mm512_broadcast_i64x4(Table()));
  }
};

using Iq4IntPairs = TableIntPairs<Iq4Pairs>;

// Values are doubled to be integers; the scale is halved, which is exact.
struct Fp4IntPairs : TableIntPairs<Fp4Pairs> {
  static Vec Scale(const std::uint8_t* header, int row) { return Mul(GroupScale(header, row), Set(0.5f)); }
};

struct Int4IntPairs : IntPairs {
  static constexpr std::size_t kStepBytes = 256;
  static constexpr float kWordZero = 0;
  template <int kPair>
  static Words Word(const std::uint8_t* bytes) {
    return _mm512_and_si512(MovePairDown<kPair>(bytes), _mm512_set1_epi16(15));
  }
  static Words Offset(const std::uint8_t* header, int row) {
    return OffsetPairs(_mm512_cvtepu8_epi32(LoadBytes16(header + 128 + row)));
  }
};

struct Int8IntPairs : IntPairs {
  static constexpr std::size_t kStepBytes = 512;
  // A pair is bytes 0 and 2 of a word, or 1 and 3.
  template <int kPair>
  static Words Word(const std::uint8_t* bytes) {
    constexpr int kFirst = kPairs[kPair][0];
    const __m512i word = LoadBytes64(bytes + kFirst / 4 * 256);
    return _mm512_srai_epi16(kFirst % 4 == 0 ? _mm512_slli_epi16(word, 8) : word, 8);
  }
};

struct PairPacking {
  // The columns of a step in the order of their pairs.
  static Words Join(Ints low, Ints high) {
    const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    return _mm512_shuffle_epi8(ToInt16(low, high), _mm512_broadcast_i32x4(order));
  }
};

// Both have the same bits, as sums of integers are exact.
template <class InBytes, class InPairs>
void MatmulInt16(const MatmulTile& tile) noexcept {
  if (tile.m >= kLeastPairTokens) return MatmulManyDots<InPairs>(tile);
  MatmulDots<InBytes>(tile);
}

}  // namespace
}  // namespace marlin
