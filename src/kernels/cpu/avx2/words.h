// Vectors of 32-bit words on AVX2 (dots_body.h and quads_body.h have the interface).
#pragma once

#include "kernels/cpu/avx2/vec.h"
#include "kernels/cpu/tile.h"

namespace marlin {
namespace {

using Words = __m256i;

inline Words LoadWords(const std::uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline void StoreWords(void* p, Words a) { _mm256_storeu_si256(static_cast<__m256i*>(p), a); }
inline Words BroadcastWord(const std::uint32_t* p) { return _mm256_set1_epi32(static_cast<int>(*p)); }
constexpr bool kHasStoreInterleaved = false;
inline void HideFromCompiler(Words& a) { asm volatile("" : "+x"(a)); }

using Ints = __m256i;

inline Ints ZeroInts() { return _mm256_setzero_si256(); }
inline Ints AddInts(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
// As AddInts, here and in the sum's own register: GCC adds integers in another order, all products of some steps
// first, which then wait in memory, and moves sums from one register to the next.
inline Ints AddInPlace(Ints sum, Ints a) {
  asm("vpaddd %1, %0, %0" : "+x"(sum) : "x"(a));
  return sum;
}
inline int FirstInt(Ints a) { return _mm256_cvtsi256_si32(a); }
inline int ReduceInts(Ints a) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  s = _mm_add_epi32(s, _mm_unpackhi_epi64(s, s));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_srli_epi64(s, 32)));
}
inline Ints Nearest(Vec a) { return _mm256_cvtps_epi32(a); }
inline Vec ToFloats(Ints a) { return _mm256_cvtepi32_ps(a); }
inline void StoreBytes(void* p, Ints a) {
  const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  _mm_storel_epi64(static_cast<__m128i*>(p), _mm_packs_epi16(halves, halves));
}

// Register tiles of dot products (dots_body.h), and their start, for sums of pairs or of quads.
template <class Sums>
struct DotTiles : Sums {
  // With 6 tokens: 12 sums, 2 weight vectors, a token and a product are all 16 registers.
  template <int T>
  static constexpr int kVectors = T == 1 ? 4 : 2;
  static constexpr std::size_t kFewTokens = kTokenTile;
  static constexpr int kMostSums = kTokenTile;
  static constexpr bool kUnpacksWhileMultiplying = true;
  static constexpr int kAskingTiles = 1;  // a request in every tile's loop costs a fifth of it on Zen 3
  // Where GCC 12 sees that sums begin as 0, it moves products from one step to the next and spills.
  static Ints Start() {
    Ints zero = ZeroInts();
    HideFromCompiler(zero);
    return zero;
  }
};

}  // namespace
}  // namespace marlin
