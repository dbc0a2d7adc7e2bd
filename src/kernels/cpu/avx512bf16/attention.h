// Attention whose softmax weights and values are rounded to bf16 (attention_body.h has the interface). Scores stay
// fp32: queries and keys in bf16 would double the divergence from fp32, weights and values add a tenth.
#pragma once

#include "kernels/cpu/avx512bf16/codes.h"
// After the vectors of the instruction set:
#include "kernels/cpu/attention_body.h"
#include "kernels/cpu/dots_body.h"

namespace marlin {
namespace {

// sums[t][64 rows] += words [pairs][row_bytes / 4] of rows times words [pairs] of T tokens.
struct PairProduct {
  const std::uint8_t* rows;
  std::size_t row_bytes;  // from one pair to the next
  std::size_t pairs;
  const std::uint32_t* tokens;
  std::size_t token_words;  // from one token to the next
  float* sums;
  std::size_t sum_stride;
};

template <int T>
[[gnu::noinline]] void PairTile(const PairProduct& p) {
  constexpr int kVectors = PairDots::kVectors<T>;
  TileSums<PairDots, T> sums;
  Unrolled<T>([&](auto t) MARLIN_INLINE {
    Unrolled<kVectors>([&](auto v) MARLIN_INLINE { sums.at[t][v] = Load(p.sums + t * p.sum_stride + v * kLanes); });
  });
  const std::uint8_t* row = p.rows;
  const std::uint32_t* token = p.tokens;
  for (const std::uint8_t* const end = row + p.pairs * p.row_bytes; row != end; row += p.row_bytes, ++token) {
    Words words[kVectors];
    Unrolled<kVectors>([&](auto v) MARLIN_INLINE { words[v] = LoadWords(row + v * kLanes * 4); });
    sums.Add(words, token, p.token_words);
  }
  Unrolled<T>([&](auto t) MARLIN_INLINE {
    Unrolled<kVectors>([&](auto v) MARLIN_INLINE { Store(p.sums + t * p.sum_stride + v * kLanes, sums.at[t][v]); });
  });
}

template <int T = kTokenTile>
inline void MultiplyPairs(const PairProduct& p, std::size_t tokens) {
  if constexpr (T > 1) {
    if (tokens < T) return MultiplyPairs<T - 1>(p, tokens);
  }
  PairTile<T>(p);
}

// 64 floats -> 32 words of neighbours.
inline void RoundScores(const float* x, std::uint32_t* words) {
  for (std::size_t i = 0; i < kKeyBlock; i += 32) {
    const __m512bh pairs = _mm512_cvtne2ps_pbh(Load(x + i + 16), Load(x + i));
    _mm512_storeu_si512(words + i / 2, reinterpret_cast<__m512i>(pairs));
  }
}

static_assert(kTileTokens == kTokenTile);

// The part for values holds words [32 pairs of keys][padded], a missing key being 0, then the softmax weights of a
// register tile.
struct Bf16Attention {
  static Values LoadValues(const AttentionTile& tile, const AttentionParts& parts, std::size_t begin,
                           std::size_t count) {
    const float* first = tile.values + begin * tile.value_stride;
    for (std::size_t j = 0; j < count; j += 2, first += 2 * tile.value_stride) {
      PairValues(tile, parts.padded, first, j + 1 < count, parts.values + j / 2 * parts.padded);
    }
    return {parts.values, parts.padded};
  }

  static void AddValues(const AttentionParts& parts, std::size_t row, std::size_t count, std::size_t keys,
                        const Values& values) {
    auto* const weights = reinterpret_cast<std::uint32_t*>(parts.values + kKeyBlock / 2 * parts.padded);
    for (std::size_t t = 0; t < count; ++t) {
      RoundScores(parts.scores + t * kKeyBlock, weights + t * (kKeyBlock / 2));
    }
    for (std::size_t d = 0; d < parts.padded; d += 64) {
      MultiplyPairs({reinterpret_cast<const std::uint8_t*>(values.data + d), values.stride * 4, (keys + 1) / 2, weights,
                     kKeyBlock / 2, parts.out + row * parts.padded + d, parts.padded},
                    count);
    }
  }

 private:
  static void PairValues(const AttentionTile& tile, std::size_t padded, const float* first, bool has_second,
                         float* words) {
    const __m512i neighbours = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                                6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (std::size_t d = 0; d < padded; d += 16) {
      const std::size_t there = d < tile.head_dim ? Smaller(tile.head_dim - d, 16) : 0;
      const __m512 a = _mm512_maskz_loadu_ps(FirstLanes(there), first + d);
      const __m512 b = _mm512_maskz_loadu_ps(FirstLanes(has_second ? there : 0), first + tile.value_stride + d);
      const auto both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b, a));
      _mm512_storeu_si512(words + d, _mm512_permutexvar_epi16(neighbours, both));
    }
  }
};

}  // namespace
}  // namespace marlin
