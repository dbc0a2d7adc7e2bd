// The product with rounded activations, in terms of an instruction set's dot products inside 32-bit words: two bf16 of
// a row times two of a token (pairs, summed in fp32), or four bytes times four (quads, summed in int32). Included after
// vec.h and matmul_body.h; everything has internal linkage. The including folder defines
//
//   Words, LoadWords(p), BroadcastWord(p)   vectors of words: one row (one token, everywhere) per lane
//   StoreWords(p, words)
//   Forget(words)                           the compiler no longer knows what they are
//
// two structs, what is done with words of either kind (Dots):
//
//   kStepWords                              words of a row in a step of 8 k: 4 pairs, 2 quads
//   kParts                                  words of a token for one of a row: 2 where its numbers are two bytes each
//   kVectors<T>                             row vectors of a register tile with T tokens
//   kFewTokens                              more tokens are faster with the weights of 64 rows unpacked
//   kMostSums                               ... in two tiles, one after the other, where they are more than this
//   kLeastInTurn                            so many tokens are multiplied by one part of theirs after the other; where
//                                           there are two
//   kVectorsInTurn<T>                       ... as kVectors<T>
//   Raise(sum)                              ... and 256 times the sum between them
//   kUnpacksWhileMultiplying                the first tokens of many are multiplied while that is done
//   kAskingTiles                            ... and so many tiles of them ask for later weights; where those are not 4
//   Sum, Start(), Add(sum, weights, x)
//   AddTwo(sum, weights, x, next_weights, next_x)   two words; where that takes less than two Add
//   WordAt(i)                               the word of a step that is multiplied i-th; where that is not word i
//   Join(high, low)                         256 times the sum, and that of the other part; where there are two
//   AddSquare(sum, rows, tokens)            where an instruction multiplies two words of two rows by two of two tokens,
//                                           for a sum of each row with each token; a row's words stand together
//   Low(a, b), High(a, b)                   ... such words of the first rows of a and b, and of the last
//   TokenSquare(x, width)                   ... those of tokens x[0] and x[1]; a token's words are `width` apart
//   OfToken<kToken>(low, high)              ... a token's sums with the rows of Low and of High
//   FetchParams(x, k, begin, tokens)        asks for what TokenParams reads
//   TokenParams<T, kOffset>(x, k, begin, length)   what the sums of T tokens over a block need to become fp32
//   .Keep()                                 ... copied, so that Value computes no address
//   .Value(sum, offset, token)              ... and how; offset counts where kOffset
//   Offset                                  what offsets are: Vec, or Words that Value knows how to read
//   kChunkLength                            k whose weights are unpacked together, at most kUnpackedBytes
//   First(sum)                              any lane as fp32
//
// and per weight format a struct like those of direct_body.h:
//
//   Dots, kStepBytes, Scale(header, row)
//   Word<kWord>(bytes)                      word kWord of a step, bytes = of this vector of rows in the step
//   Offset(header, row)                     what the words are larger by than the weights; only where they are
//
// Few tokens: codes become words in registers, which are kept in the L1 cache if they are needed in turn. Many: the
// words of some blocks are unpacked into the L1 cache first, those of two rows side by side where they are multiplied
// so.
#pragma once

#include "kernels/cpu/few_dots_body.h"
#include "kernels/cpu/many_dots_body.h"

namespace marlin {
namespace {

// The most that is multiplied at once.
template <class Dots>
[[gnu::always_inline]] inline typename Dots::Sum AddMost(typename Dots::Sum sum, Words weights, Words x) {
  if constexpr (kHasSquares<Dots>) {
    return Dots::AddSquare(sum, weights, x);
  } else if constexpr (kWordsAtOnce<Dots> == 2) {
    return Dots::AddTwo(sum, weights, x, x, weights);
  } else {
    return Dots::Add(sum, weights, x);
  }
}

template <class Dots>
float RunDotPeak(std::size_t steps) noexcept {
  typename Dots::Sum chains[kPeakChains];
  // Chains that begin alike would be made once.
  std::uint32_t small[kPeakChains];
  for (std::uint32_t c = 0; c < kPeakChains; ++c) small[c] = c + 1;
  Words word = BroadcastWord(small);
  Words other = BroadcastWord(small + 1);
  Unrolled<kPeakChains>(
      [&](auto c) MARLIN_INLINE { chains[c] = AddMost<Dots>(Dots::Start(), BroadcastWord(small + c), word); });
  for (std::size_t i = 0; i < steps; ++i) {
    Unrolled<kPeakChains>([&](auto c) MARLIN_INLINE {
      chains[c] = AddMost<Dots>(chains[c], word, other);
      Forget(word);  // or one product would serve them all
      Forget(other);
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
