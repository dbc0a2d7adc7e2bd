// Positions of the words of packed activations (tile.h has the picture). Included after an instruction set's words.h;
// everything has internal linkage. words.h says whether it has StoreInterleaved for full tiles (kHasStoreInterleaved).
#pragma once

#include "kernels/cpu/tile.h"

namespace marlin {
namespace {

// Tokens from x on that are packed as one tile, and its words.
struct TokensToPack {
  const float* x;
  std::size_t x_stride;
  std::size_t count;  // 1..kTokenTile
  std::uint32_t* words;
};

// pack(TokensToPack) for m tokens, tile by tile.
template <class Pack>
inline void ForTokenTiles(const float* x, std::size_t x_stride, std::size_t m, std::size_t token_words,
                          std::uint32_t* words, Pack pack) {
  const TokenTiles tiles(m);
  for (std::size_t i = 0; i < tiles.count; ++i) {
    const std::size_t t = tiles.Begin(i);
    pack(TokensToPack{x + t * x_stride, x_stride, tiles.Width(i), words + t * token_words});
  }
}

// kLanes floats; those beyond `count` are 0.
inline Vec LoadUpTo(const float* x, std::size_t count) { return count >= kLanes ? Load(x) : LoadPartial(x, count, 0); }

inline void PutFloat(std::uint32_t* word, float value) { __builtin_memcpy(word, &value, sizeof(value)); }

// A sum of x as kernels read it: in fp32, or, of integers of 16 bits, as tile.h says.
inline void PutSum(std::uint32_t* word, float sum) { PutFloat(word, sum); }
inline void PutSum(std::uint32_t* word, std::uint32_t sum) {
  const std::uint32_t minus = 0 - sum;
  *word = (minus & 127) | (minus >> 7) << 16;
}

// The first `count` of the words, or all of them, `width` apart.
inline void StoreApart(Words a, std::size_t count, std::uint32_t* to, std::size_t width) {
  if (width == 1 && count >= kLanes) return StoreWords(to, a);
  std::uint32_t words[kLanes];
  StoreWords(words, a);
  for (std::size_t i = 0; i < kLanes && i < count; ++i) to[i * width] = words[i];
}

// The first `count` words of every token of a tile, or all of them, from word `first` on.
template <class Vector>
inline void StoreTile(const Vector (&words)[kTokenTile], std::size_t count, std::size_t first,
                      const TokensToPack& tokens) {
  std::uint32_t* const to = tokens.words + first * tokens.count;
  if constexpr (kHasStoreInterleaved) {
    if (tokens.count == kTokenTile && count >= kLanes) return StoreInterleaved(words, to);
  }
  for (std::size_t t = 0; t < tokens.count; ++t) StoreApart(words[t], count, to + t, tokens.count);
}

// Whether the sum of kLength columns ends with the `count` columns from i of k.
template <std::size_t kLength = kSumLength>
constexpr bool EndsSum(std::size_t i, std::size_t count, std::size_t k) {
  return i % kLength + count >= kLength || i + count >= k;
}

// Puts a token's sums, `width` words apart: from `sums` on those of kSumLength columns, then those of kDotBlockLength.
template <class Number>
struct SumsOfToken {
  Number block = 0;  // the sum of kDotBlockLength columns so far

  // The sum of kSumLength columns, which ends with the `count` columns from i of k.
  void Put(Number sum, std::size_t i, std::size_t count, std::size_t k, std::uint32_t* sums, std::size_t width) {
    PutSum(sums + i / kSumLength * width, sum);
    block += sum;
    if (!EndsSum<kDotBlockLength>(i, count, k)) return;
    PutSum(sums + (ShortSums(k) + i / kDotBlockLength) * width, block);
    block = 0;
  }
};

inline void FetchSums(const std::uint32_t* sums, std::size_t cols, std::size_t begin, std::size_t width) {
  __builtin_prefetch(sums + begin / kSumLength * width);
  __builtin_prefetch(sums + (ShortSums(cols) + begin / kDotBlockLength) * width);
}

// Sums of x of T tokens over a block that begins at k, at[0] .. at[T - 1]; of pairs the halves are added, which stay
// below 2^15.
template <int T, class Number>
class InputSumsOf {
 public:
  // sums: as SumsOfToken puts them, of `cols` columns.
  InputSumsOf(const std::uint32_t* sums, std::size_t cols, std::size_t begin, std::size_t length) {
    const Number* const shorts = reinterpret_cast<const Number*>(sums);
    if (begin % kDotBlockLength == 0 && (length == kDotBlockLength || begin + length >= cols)) {
      at = shorts + (ShortSums(cols) + begin / kDotBlockLength) * T;
    } else if (length <= kSumLength) {
      at = shorts + begin / kSumLength * T;
    } else {
      Sum(shorts + begin / kSumLength * T, length);
    }
  }
  // Moves them here.
  void Keep() {
    __builtin_memmove(own_, at, sizeof(own_));
    asm("" : "+m"(own_));  // or they would be read from their old place
    at = own_;
  }
  InputSumsOf(const InputSumsOf&) = delete;
  InputSumsOf& operator=(const InputSumsOf&) = delete;

  const Number* at;

 private:
  void Sum(const Number* sum, std::size_t length) {
    for (std::size_t k = 0; k < length; k += kSumLength, sum += T) {
      for (int t = 0; t < T; ++t) own_[t] += sum[t];
    }
    at = own_;
  }

  Number own_[T] = {};
};

}  // namespace
}  // namespace marlin
