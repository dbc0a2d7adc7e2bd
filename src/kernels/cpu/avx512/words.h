// Vectors of 32-bit words on AVX-512, and where the words of packed activations go (tile.h has the picture).
#pragma once

#include "kernels/cpu/avx512/vec.h"
#include "kernels/cpu/tile.h"

namespace marlin {
namespace {

using Words = __m512i;

inline Words LoadWords(const std::uint8_t* p) { return _mm512_loadu_si512(p); }
inline void StoreWords(std::uint8_t* p, Words a) { _mm512_storeu_si512(p, a); }
inline Words BroadcastWord(const std::uint32_t* p) { return _mm512_set1_epi32(static_cast<int>(*p)); }

// The first word of token t of m, and the distance from one word to the next.
struct TokenPlace {
  std::size_t offset;
  std::size_t width;
};

inline TokenPlace PlaceOfToken(std::size_t t, std::size_t m, std::size_t token_words) {
  const std::size_t first = t / kTokenTile * kTokenTile;
  return {first * token_words + (t - first), m - first < kTokenTile ? m - first : kTokenTile};
}

// The first `count` of 16 words, or all of them, `width` apart.
inline void StoreApart(Words a, std::size_t count, std::uint32_t* to, std::size_t width) {
  if (width == 1 && count >= 16) return _mm512_storeu_si512(to, a);
  std::uint32_t words[16];
  _mm512_storeu_si512(words, a);
  for (std::size_t i = 0; i < 16 && i < count; ++i) to[i * width] = words[i];
}

// Sums of x of T tokens over a block that begins at k, from sums of kSumLength k each.
template <int T>
struct InputSumsOf {
  float at[T];

  InputSumsOf(const std::uint32_t* sums, std::size_t begin, std::size_t length) : at{} {
    const float* sum = reinterpret_cast<const float*>(sums) + begin / kSumLength * T;
    for (std::size_t k = 0; k < length; k += kSumLength, sum += T) {
      for (int t = 0; t < T; ++t) at[t] += sum[t];
    }
  }
};

}  // namespace
}  // namespace marlin
