// Vectors of 32-bit words on AVX-512 (dots_body.h and quads_body.h have the interface).
#pragma once

#include "kernels/cpu/avx512/vec.h"

namespace marlin {
namespace {

using Words = __m512i;

inline Words LoadWords(const std::uint8_t* p) { return _mm512_loadu_si512(p); }
inline void StoreWords(void* p, Words a) { _mm512_storeu_si512(p, a); }
inline Words BroadcastWord(const std::uint32_t* p) { return _mm512_set1_epi32(static_cast<int>(*p)); }
inline void Forget(Words& a) { asm volatile("" : "+v"(a)); }

// Register tiles of dot products (dots_body.h): 24 sums, up to 4 weight vectors and a token.
struct DotShape {
  static constexpr int kMostTokens = 12;
  template <int T>
  static constexpr int kVectors = T <= 6 ? 4 : 2;
  static constexpr std::size_t kFewTokens = 24;
};

using Whole = __m512i;

inline Whole ZeroWhole() { return _mm512_setzero_si512(); }
inline Whole AddWhole(Whole a, Whole b) { return _mm512_add_epi32(a, b); }
inline int ReduceWhole(Whole a) { return _mm512_reduce_add_epi32(a); }
inline int FirstWhole(Whole a) { return _mm_cvtsi128_si32(_mm512_castsi512_si128(a)); }
inline Whole Nearest(Vec a) { return _mm512_cvtps_epi32(a); }
inline Vec ToFloats(Whole a) { return _mm512_cvtepi32_ps(a); }
inline void StoreBytes(void* p, Whole a) { _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(a)); }

}  // namespace
}  // namespace marlin
