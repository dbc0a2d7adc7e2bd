// The product with rounded activations, in terms of an instruction set's dot products inside 32-bit words: two bf16 of
// a row times two of a token (pairs, summed in fp32), or four bytes times four (quads, summed in int32). Included after
// vec.h and matmul_body.h; everything has internal linkage. The including folder defines
//
//   Words, LoadWords(p), BroadcastWord(p)   vectors of words: one row (one token, in every lane) per lane
//   StoreWords(p, words)
//   HideFromCompiler(words)                 the compiler no longer knows their value
//
// two structs with the operations on words of either kind (Dots):
//
//   kStepWords                              words of a row in a step of 8 k: 4 pairs, 2 quads
//   kParts                                  words of a token for one of a row: 2 if int16 is split into two bytes
//   kVectors<T>                             row vectors of a register tile with T tokens
//   kFewTokens                              more tokens are faster with the weights of 64 rows unpacked
//   kMostSums                               ... more tokens than this take two tiles, one after the other
//   kLeastTwoPass                           minimum number of tokens for the two-pass scheme (high bytes, then
//                                           low bytes); only if kParts is 2
//   kVectorsTwoPass<T>                      ... its kVectors<T>
//   Raise(sum)                              ... 256 times the sum, between the passes
//   kUnpacksWhileMultiplying                the first tokens of many are multiplied while weights are unpacked
//   kAskingTiles                            ... number of tiles that prefetch later weights, if not 4
//   Sum, Start(), Add(sum, weights, x)
//   AddTwo(sum, weights, x, next_weights, next_x)   two words, if that takes less time than two Add
//   WordAt(i)                               the word of a step that is multiplied i-th, if that is not word i
//   Join(high, low)                         256 times the sum of high bytes, plus the sum of low bytes; if kParts is 2
//   AddTwoByTwo(sum, rows, tokens)          if an instruction multiplies two words of two rows by two of two tokens and
//                                           adds a sum for each row and token; the words of a row are adjacent
//   Low(a, b), High(a, b)                   ... such words of the first rows of a and b, and of the last
//   TokenTwoByTwo(x, width)                 ... those of tokens x[0] and x[1]; a token's words are `width` apart
//   OfToken<kToken>(low, high)              ... a token's sums with the rows of Low and of High
//   FetchParams(x, k, begin, tokens)        prefetches what TokenParams reads
//   TokenParams<T, Offset>(x, k, begin, length)   parameters that convert the sums of T tokens over a block to fp32
//   .Keep()                                 ... copies them, so that AddTo computes no address
//   .AddTo(total, scale, sum, offset, token)   ... total + scale * sum in fp32; offset: as in offset_body.h
//   kChunkLength                            k whose weights are unpacked together, at most kUnpackedBytes
//   First(sum)                              any lane as fp32
//
// and per weight format a struct like those of direct_body.h:
//
//   Dots, kStepBytes, Scale(header, row)
//   Word<kWord>(bytes)                      word kWord of a step, bytes = of this vector of rows in the step
//   Offset(header, row)                     difference of the words from the weights, if there is one: Vec or Words, as
//                                           Dots reads it, or a Bias
//   kWordZero                               ... the code whose word is 0; of formats that BiasedDots extends
//
// Few tokens: codes become words in registers; the two-pass scheme also stores them in the L1 cache. Many tokens: the
// words of some blocks are unpacked into the L1 cache first, those of two rows side by side for AddTwoByTwo.
#pragma once

#include "kernels/cpu/few_dots_body.h"
#include "kernels/cpu/many_dots_body.h"

namespace marlin {
namespace {

// The instruction with the most products.
template <class Dots>
[[gnu::always_inline]] inline typename Dots::Sum AddMost(typename Dots::Sum sum, Words weights, Words x) {
  if constexpr (kHasTwoByTwo<Dots>) {
    return Dots::AddTwoByTwo(sum, weights, x);
  } else if constexpr (kWordsAtOnce<Dots> == 2) {
    return Dots::AddTwo(sum, weights, x, x, weights);
  } else {
    return Dots::Add(sum, weights, x);
  }
}

template <class Dots>
float RunDotPeak(std::size_t steps) noexcept {
  typename Dots::Sum chains[kPeakChains];
  // The compiler would merge chains that start with the same value.
  std::uint32_t small[kPeakChains];
  for (std::uint32_t c = 0; c < kPeakChains; ++c) small[c] = c + 1;
  Words word = BroadcastWord(small);
  Words other = BroadcastWord(small + 1);
  Unrolled<kPeakChains>(
      [&](auto c) MARLIN_INLINE { chains[c] = AddMost<Dots>(Dots::Start(), BroadcastWord(small + c), word); });
  for (std::size_t i = 0; i < steps; ++i) {
    Unrolled<kPeakChains>([&](auto c) MARLIN_INLINE {
      chains[c] = AddMost<Dots>(chains[c], word, other);
      HideFromCompiler(word);  // or the compiler would compute one product for all
      HideFromCompiler(other);
    });
  }
  float total = 0;
  Unrolled<kPeakChains>([&](auto c) MARLIN_INLINE { total += Dots::First(chains[c]); });
  return total;
}

// Words of 2 or 4 products, or of 4 halves of products.
template <class Dots>
constexpr PeakLoop kDotPeak = {2.0 * kLanes* kTogether<Dots>* kWordsAtOnce<Dots> * 8 / kTokenStep<Dots>* kPeakChains,
                               RunDotPeak<Dots>};

template <class Code>
void MatmulDots(const MatmulTile& tile) noexcept {
  if (tile.m > Code::Dots::kFewTokens) return MatmulManyDots<Code>(tile);
  MatmulDotsUpTo<Code, static_cast<int>(Code::Dots::kFewTokens)>(tile);
}

}  // namespace
}  // namespace marlin
