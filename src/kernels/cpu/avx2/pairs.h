// Pairs of int16 on AVX2 and on AVX-VNNI, which differ in the dot product alone (a struct that extends PairTiles):
// rounding activations, decoding weights (int16_body.h and dots_body.h have the interfaces, layout.h the
// picture).
#pragma once

#include "kernels/cpu/avx2/codes.h"
#include "kernels/cpu/avx2/words.h"

namespace marlin {
namespace {

inline Ints AddPairs(Ints sum, Words a, Words b) { return AddInPlace(sum, _mm256_madd_epi16(a, b)); }

}  // namespace
}  // namespace marlin

// The body comes after the words it is written in.
#include "kernels/cpu/int16_body.h"

namespace marlin {
namespace {

struct PairTiles : DotTiles<IntPairSums> {
  // Words that come from the same nibbles follow each other.
  static constexpr int WordAt(int i) { return i % 2 * 2 + i / 2; }
};

// Signed bytes as int16: bytes 0 and 2 of every word, or 1 and 3.
template <int kFirst>
inline Words SignedPair(Words bytes) {
  // Even bytes times 1, odd ones times 0: one instruction instead of two shifts.
  if constexpr (kFirst == 0) return _mm256_maddubs_epi16(_mm256_set1_epi16(1), bytes);
  return _mm256_srai_epi16(bytes, 8);
}

// Nibbles are indices of a table of signed bytes.
template <class PairDots, __m256i (*Table)()>
struct TableIntPairs {
  using Dots = PairDots;
  static constexpr std::size_t kStepBytes = 256;
  template <int kPair>
  static Words Word(const std::uint8_t* bytes) {
    constexpr int kFirst = kPairs[kPair][0];
    const Words word = LoadWords(bytes);
    const Words codes = _mm256_and_si256(kFirst < 4 ? word : _mm256_srli_epi32(word, 4), _mm256_set1_epi8(15));
    return SignedPair<kFirst % 4>(_mm256_shuffle_epi8(Table(), codes));
  }
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

template <class PairDots>
using Iq4IntPairs = TableIntPairs<PairDots, Iq4Bytes>;

// Values are doubled to be integers; the scale is halved, which is exact.
template <class PairDots>
struct Fp4IntPairs : TableIntPairs<PairDots, Fp4Bytes> {
  static Vec Scale(const std::uint8_t* header, int row) { return Mul(GroupScale(header, row), Set(0.5f)); }
};

template <class PairDots>
struct Int4IntPairs {
  using Dots = PairDots;
  static constexpr std::size_t kStepBytes = 256;
  static constexpr float kWordZero = 0;
  template <int kPair>
  static Words Word(const std::uint8_t* bytes) {
    return _mm256_and_si256(_mm256_srli_epi16(LoadWords(bytes), 4 * kPair), _mm256_set1_epi16(15));
  }
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
  static Words Offset(const std::uint8_t* header, int row) {
    return _mm256_mullo_epi32(_mm256_cvtepu8_epi32(LoadBytes8(header + 128 + row)), _mm256_set1_epi32(kOffsetPair));
  }
};

template <class PairDots>
struct Int8IntPairs {
  using Dots = PairDots;
  static constexpr std::size_t kStepBytes = 512;
  template <int kPair>
  static Words Word(const std::uint8_t* bytes) {
    constexpr int kFirst = kPairs[kPair][0];
    return SignedPair<kFirst % 4>(LoadWords(bytes + kFirst / 4 * 256));
  }
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

struct Int16Packing {
  static Words Join(Ints low, Ints high) {
    // The columns of a step in each half, then in the order of their pairs.
    const Words both = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
    const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    return _mm256_shuffle_epi8(both, _mm256_broadcastsi128_si256(order));
  }
};

}  // namespace
}  // namespace marlin
