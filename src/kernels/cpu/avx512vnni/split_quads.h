// Activations in int16 on AVX-512 VNNI, split into bytes. They need two dot products of quads, as many as pairs of
// int16, but weights are decoded to bytes, which is less work (int16_body.h and dots_body.h have the interfaces).
#pragma once

#include "kernels/cpu/avx512vnni/int16.h"
#include "kernels/cpu/avx512vnni/quads.h"

namespace marlin {
namespace {

struct SplitQuadDots : SplitQuadSums {
  // 24 sums, up to 4 weight vectors and a token. Up to three tokens, and where a chunk is unpacked, have sums of both
  // bytes; otherwise high and low bytes take two passes.
  template <int T>
  static constexpr int kVectors = T <= 3 ? 4 : 2;
  template <int T>
  static constexpr int kVectorsTwoPass = T <= 6 ? 4 : 2;
  static constexpr std::size_t kFewTokens = 12;
  static constexpr int kLeastTwoPass = 4;  // fewer tokens have too few sums
  static constexpr bool kUnpacksWhileMultiplying = true;
  static Sum Add(Sum sum, Words weights, Words x) { return _mm512_dpbusd_epi32(sum, weights, x); }
  static Words OffsetOf(int offset) { return OffsetPair(offset); }
  static Words OffsetsOf(Ints offsets) { return OffsetPairs(offsets); }
  static Sum Raise(Sum sum) { return _mm512_slli_epi32(sum, 8); }
  static Sum Join(Sum high, Sum low) { return _mm512_add_epi32(Raise(high), low); }
};

struct SplitPacking {
  static Words Join(Ints low, Ints high) {
    // The high byte of a number is that of the nearest multiple of 256.
    const __m512i split =
        _mm512_xor_si512(_mm512_add_epi16(ToInt16(low, high), _mm512_set1_epi16(0x80)), _mm512_set1_epi16(0x80));
    const __m128i order = _mm_setr_epi8(1, 3, 5, 7, 0, 2, 4, 6, 9, 11, 13, 15, 8, 10, 12, 14);
    return _mm512_shuffle_epi8(split, _mm512_broadcast_i32x4(order));
  }
};

}  // namespace
}  // namespace marlin
