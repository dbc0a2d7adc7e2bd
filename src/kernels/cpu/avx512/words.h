// Vectors of 32-bit words on AVX-512 (dots_body.h and quads_body.h have the interface).
#pragma once

#include "kernels/cpu/avx512/vec.h"
#include "kernels/cpu/tile.h"

namespace marlin {
namespace {

using Words = __m512i;

inline Words LoadWords(const std::uint8_t* p) { return _mm512_loadu_si512(p); }
inline void StoreWords(void* p, Words a) { _mm512_storeu_si512(p, a); }
inline Words BroadcastWord(const std::uint32_t* p) { return _mm512_set1_epi32(static_cast<int>(*p)); }
inline void HideFromCompiler(Words& a) { asm volatile("" : "+v"(a)); }

// Order in which StoreInterleaved stores the words of a tile's tokens: first the words of two tokens side by
// side, as 64 bits; then, for vectors 0, 1 and 2 of 24 such pairs, those of the first four tokens, and of all six.
struct InterleaveOrder {
  alignas(64) std::int32_t two[2][16] = {};
  alignas(64) std::int64_t four[3][8] = {};
  alignas(64) std::int64_t six[3][8] = {};

  constexpr InterleaveOrder() {
    for (int half = 0; half < 2; ++half) {
      for (int i = 0; i < 16; ++i) two[half][i] = half * 8 + i / 2 + i % 2 * 16;
    }
    for (int i = 0; i < 24; ++i) {
      const int word = i / 3, tokens = i % 3;
      four[i / 8][i % 8] = tokens == 0 ? word : tokens == 1 ? 8 + word : 0;
      six[i / 8][i % 8] = tokens == 2 ? 8 + word : i % 8;
    }
  }
};
inline constexpr InterleaveOrder kInterleaveOrder;

// to[w][t] = words[t][w].
constexpr bool kHasStoreInterleaved = true;
inline void StoreInterleaved(const Words (&words)[6], std::uint32_t* to) {
  for (int half = 0; half < 2; ++half) {
    const __m512i order = _mm512_load_si512(kInterleaveOrder.two[half]);
    const __m512i a = _mm512_permutex2var_epi32(words[0], order, words[1]);
    const __m512i b = _mm512_permutex2var_epi32(words[2], order, words[3]);
    const __m512i c = _mm512_permutex2var_epi32(words[4], order, words[5]);
    for (int i = 0; i < 3; ++i, to += 16) {
      const __m512i four = _mm512_permutex2var_epi64(a, _mm512_load_si512(kInterleaveOrder.four[i]), b);
      StoreWords(to, _mm512_permutex2var_epi64(four, _mm512_load_si512(kInterleaveOrder.six[i]), c));
    }
  }
}

// Register tiles of dot products (dots_body.h): 24 sums, up to 4 weight vectors and a token.
struct DotShape {
  template <int T>
  static constexpr int kVectors = T <= 6 ? 4 : 2;
  static constexpr std::size_t kFewTokens = 2 * kTokenTile;
  static constexpr bool kUnpacksWhileMultiplying = true;
};

using Ints = __m512i;

inline Ints ZeroInts() { return _mm512_setzero_si512(); }
inline Ints AddInts(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
inline int ReduceInts(Ints a) { return _mm512_reduce_add_epi32(a); }
inline int FirstInt(Ints a) { return _mm_cvtsi128_si32(_mm512_castsi512_si128(a)); }
inline Ints Nearest(Vec a) { return _mm512_cvtps_epi32(a); }
inline Vec ToFloats(Ints a) { return _mm512_cvtepi32_ps(a); }
inline void StoreBytes(void* p, Ints a) { _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(a)); }

}  // namespace
}  // namespace marlin
