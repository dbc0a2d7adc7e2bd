// Activations in bf16: packing, and the common part of the dot products of pairs (dots_body.h). Included after an
// instruction set's words.h. How it rounds is a struct:
//
//   kColumns          columns that are rounded together, a divisor of kSumLength
//   Pairs(x, count)   their words; columns from `count` on are 0 and are not read
//   SumOf(words)      the sum of the rounded columns
#pragma once

#include "kernels/cpu/offset_body.h"
#include "kernels/cpu/packed_input.h"

namespace marlin {
namespace {

struct PairSums {
  static constexpr int kStepWords = 4;
  static constexpr int kParts = 1;
  using Sum = Vec;
  static constexpr std::size_t kChunkLength = 128;
  static std::size_t WordsOfToken(std::size_t k) { return PairWords(k); }
  static Sum Start() { return Zero(); }
  static float First(Sum sum) { return marlin::First(sum); }

  // Prefetches what TokenParams will read of a tile of `width` tokens, a block from `begin` on.
  static void FetchParams(const std::uint32_t* packed, std::size_t cols, std::size_t begin, std::size_t width) {
    FetchSums(packed + (cols + 7) / 8 * kStepWords * width, cols, begin, width);
  }

  template <int T, class Offset>
  class TokenParams {
   public:
    TokenParams(const std::uint32_t* packed, std::size_t cols, std::size_t begin, std::size_t length)
        : sums_(packed + (cols + 7) / 8 * kStepWords * T, cols, begin, length) {}
    void Keep() {
      if constexpr (kReadsInputSums<Offset>) sums_.Keep();
    }
    Vec AddTo(Vec total, Vec scale, Sum sum, Offset offset, int t) const {
      if constexpr (kIsBias<Offset>) {
        return Add(total, WithBias(scale, sum, offset, Broadcast(sums_.at + t)));
      } else if constexpr (kReadsInputSums<Offset>) {
        return Fma(scale, Fnma(offset, Broadcast(sums_.at + t), sum), total);
      } else {
        return Fma(scale, sum, total);
      }
    }

   private:
    InputSumsOf<T, float> sums_;
  };
};

template <class Rounding>
inline void PackPairsOfTile(const TokensToPack& tokens, std::size_t k) {
  constexpr std::size_t kColumns = Rounding::kColumns;
  static_assert(kSumLength % kColumns == 0);
  const std::size_t pairs = (k + 7) / 8 * 4;
  float sums[kTokenTile] = {};
  SumsOfToken<float> sums_of[kTokenTile];
  for (std::size_t i = 0; i < k; i += kColumns) {
    Words words[kTokenTile];
    for (std::size_t t = 0; t < tokens.count; ++t) {
      words[t] = Rounding::Pairs(tokens.x + t * tokens.x_stride + i, k - i);
      sums[t] += Rounding::SumOf(words[t]);
    }
    StoreTile(words, pairs - i / 2, i / 2, tokens);
    if (!EndsSum(i, kColumns, k)) continue;
    for (std::size_t t = 0; t < tokens.count; ++t) {
      sums_of[t].Put(sums[t], i, kColumns, k, tokens.words + pairs * tokens.count + t, tokens.count);
      sums[t] = 0;
    }
  }
}

template <class Rounding>
void PackPairs(const float* x, std::size_t x_stride, std::size_t m, std::size_t k, std::uint32_t* words) noexcept {
  ForTokenTiles(x, x_stride, m, PairWords(k), words,
                [&](const TokensToPack& tokens) { PackPairsOfTile<Rounding>(tokens, k); });
}

}  // namespace
}  // namespace marlin
