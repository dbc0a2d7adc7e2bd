// Where the words of packed activations stand (tile.h has the picture). Included after an instruction set's words.h;
// everything has internal linkage.
#pragma once

#include "kernels/cpu/tile.h"

namespace marlin {
namespace {

// The first word of token t of m, and the distance from one word to the next.
struct TokenPlace {
  std::size_t offset;
  std::size_t width;
};

inline TokenPlace PlaceOfToken(std::size_t t, std::size_t m, std::size_t token_words) {
  const std::size_t first = t / kTokenTile * kTokenTile;
  return {first * token_words + (t - first), m - first < kTokenTile ? m - first : kTokenTile};
}

// kLanes floats; those beyond `count` are 0.
inline Vec LoadUpTo(const float* x, std::size_t count) { return count >= kLanes ? Load(x) : LoadPartial(x, count, 0); }

inline void PutFloat(std::uint32_t* word, float value) { __builtin_memcpy(word, &value, sizeof(value)); }

// The first `count` of the words, or all of them, `width` apart.
inline void StoreApart(Words a, std::size_t count, std::uint32_t* to, std::size_t width) {
  if (width == 1 && count >= kLanes) return StoreWords(to, a);
  std::uint32_t words[kLanes];
  StoreWords(words, a);
  for (std::size_t i = 0; i < kLanes && i < count; ++i) to[i * width] = words[i];
}

// Whether the sum of kSumLength columns ends with the `count` columns from i of k.
constexpr bool EndsSum(std::size_t i, std::size_t count, std::size_t k) {
  return i % kSumLength + count >= kSumLength || i + count >= k;
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
