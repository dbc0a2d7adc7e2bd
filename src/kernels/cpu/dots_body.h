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
//   kMostTokens                             tokens of the largest register tile: kTokenTile, or twice as many
//   kVectors<T>                             row vectors of a register tile with T tokens
//   kFewTokens                              more tokens are faster with the weights unpacked
//   kUnpacksWhileMultiplying                the first tokens of many are multiplied while that is done
//   Sum, Start(), Add(sum, weights, x)
//   Raise(sum), Join(high, low)             256 times the sum, and with that of the other part; where there are two
//   kVectorsInTurn<T>                       as kVectors<T>, one part after the other
//   FetchParams(x, k, begin, tokens)        asks for what TokenParams reads
//   TokenParams<T, kOffset>(x, k, begin, length)   what the sums of T tokens over a block need to become fp32
//   .Value(sum, offset, token)              ... and how; offset counts where kOffset
//   First(sum)                              any lane as fp32
//
// and per weight format a struct like those of direct_body.h:
//
//   Dots, kStepBytes, Scale(header, row)
//   Word<kWord>(bytes)                      word kWord of a step, bytes = of this vector of rows in the step
//   Offset(header, row)                     what the words are larger by than the weights; only where they are
//
// Few tokens: codes become words in registers. Many: the words of 128 k are unpacked into the L1 cache first.
#pragma once

#include <utility>

#include "kernels/cpu/matmul_body.h"
#include "kernels/cpu/tile.h"

namespace marlin {
namespace {

constexpr std::size_t StepsOf(std::size_t length) { return (length + 7) / 8; }

// f(0), f(1), ... f(N - 1), each with a constant of its own, so that arrays indexed by it stay in registers: GCC 12
// unrolls loops over them too late for that.
template <int N, class Function>
[[gnu::always_inline]] inline void Unrolled(Function f) {
  [&]<int... kI>(std::integer_sequence<int, kI...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, kI>{}), ...);
  }
  (std::make_integer_sequence<int, N>{});
}
#define MARLIN_INLINE __attribute__((always_inline))

// Asks ahead for a part of what a sweep over kVectors vectors of rows reads in a step: the lines of word kWord, as all
// at once would wait for each other.
template <class Code, int kVectors, int kWord>
[[gnu::always_inline]] inline void FetchWord(const std::uint8_t* bytes, bool past_caches) {
  constexpr int kLinesOfBlock = kVectors * kLanes * 4 < 64 ? 1 : kVectors * kLanes * 4 / 64;  // a block is 256 bytes
  Unrolled<static_cast<int>(Code::kStepBytes) / 256 * kLinesOfBlock>([&](auto number) MARLIN_INLINE {
    constexpr int kLine = decltype(number)::value;
    if constexpr (kLine % Code::Dots::kStepWords == kWord) {
      FetchAhead(bytes + kLine / kLinesOfBlock * 256 + kLine % kLinesOfBlock * 64, past_caches);
    }
  });
}

// Words of a token in a step.
template <class Dots>
constexpr std::size_t kTokenStep = Dots::kStepWords* Dots::kParts;

// Whether the words of a format are larger than its weights.
template <class Code>
constexpr bool kHasOffset = requires(const std::uint8_t* header) {
  Code::Offset(header, 0);
};

template <class Dots, int T, int kRowVectors = Dots::template kVectors<T>, int kParts = Dots::kParts>
struct TileSums {
  static constexpr int kVectors = kRowVectors;
  typename Dots::Sum at[kParts][T][kVectors];

  [[gnu::always_inline]] void Start() {
    Unrolled<kParts>([&](auto part) MARLIN_INLINE {
      Unrolled<T>([&](auto t) MARLIN_INLINE {
        Unrolled<kVectors>([&](auto v) MARLIN_INLINE { at[part][t][v] = Dots::Start(); });
      });
    });
  }
  // One word of every row times the words at_token(part, token).
  template <class At>
  [[gnu::always_inline]] void Add(const Words (&weights)[kVectors], At at_token) {
    Unrolled<kParts>([&](auto part) MARLIN_INLINE {
      Unrolled<T>([&](auto t) MARLIN_INLINE {
        const Words token = BroadcastWord(at_token(part, t));
        Unrolled<kVectors>([&](auto v)
                               MARLIN_INLINE { at[part][t][v] = Dots::Add(at[part][t][v], weights[v], token); });
      });
    });
  }
  [[gnu::always_inline]] void Raise() {
    Unrolled<T>([&](auto t) MARLIN_INLINE {
      Unrolled<kVectors>([&](auto v) MARLIN_INLINE {
        at[0][t][v] = Dots::Raise(at[0][t][v]);
        Forget(at[0][t][v]);
      });
    });
  }
  [[gnu::always_inline]] typename Dots::Sum Of(int t, int v) const {
    if constexpr (kParts == 1) {
      return at[0][t][v];
    } else {
      return Dots::Join(at[0][t][v], at[1][t][v]);
    }
  }
};

// The packed words of T tokens: those of one tile of activations, or of a whole one and the next.
template <class Dots, int T>
struct TokenTiles {
  static constexpr int kFirst = T < static_cast<int>(kTokenTile) ? T : static_cast<int>(kTokenTile);
  static constexpr int kSecond = T - kFirst;
  const std::uint32_t* first;
  const std::uint32_t* second;

  TokenTiles(const std::uint32_t* packed, std::size_t cols)
      : first(packed), second(packed + (kSecond == 0 ? 0 : kTokenTile * Dots::WordsOfToken(cols))) {}
  [[gnu::always_inline]] void Advance(std::size_t words) {
    first += words * kFirst;
    second += words * kSecond;
  }
  // Word `word` from here of token t.
  [[gnu::always_inline]] const std::uint32_t* At(int word, int t) const {
    return t < kFirst ? first + word * kFirst + t : second + word * kSecond + (t - kFirst);
  }
};

// totals [T][64] of a block, for the rows of one register tile and some of the tokens whose sums these are.
template <class Code, int kBegin, int kCount, int T>
[[gnu::always_inline]] inline void FoldDirect(const MatmulTile& tile, const Block& block, const std::uint32_t* packed,
                                              int first, const TileSums<typename Code::Dots, T>& sums, float* totals) {
  using Dots = typename Code::Dots;
  const typename Dots::template TokenParams<kCount, kHasOffset<Code>> token(packed, tile.geometry->cols, block.k,
                                                                            block.length);
  Unrolled<Dots::template kVectors<T>>([&](auto v) MARLIN_INLINE {
    const int row = first + v * kLanes;
    const Vec scale = Code::Scale(block.header, row);
    Vec offset = Zero();
    if constexpr (kHasOffset<Code>) offset = Code::Offset(block.header, row);
    Unrolled<kCount>([&](auto t) MARLIN_INLINE {
      float* const total = totals + (kBegin + t) * 64 + row;
      const Vec before = block.k == 0 ? Zero() : Load(total);
      Store(total, Fma(scale, token.Value(sums.Of(kBegin + t, v), offset, t), before));
    });
  });
}

// One block for T tokens and the rows of one register tile: adds to totals [T][64], or starts them.
template <class Code, int T>
[[gnu::always_inline]] inline void DirectDots(const MatmulTile& tile, const Block& block, int first, float* totals) {
  using Dots = typename Code::Dots;
  using Tiles = TokenTiles<Dots, T>;
  constexpr int kVectors = Dots::template kVectors<T>;
  constexpr bool kOneSweep = kVectors == kPanelVectors;
  const bool past_caches = kOneSweep && tile.fetch_past_caches;
  TileSums<Dots, T> sums;
  sums.Start();
  const Tiles begin(tile.packed, tile.geometry->cols);
  Tiles x = begin;
  x.Advance(block.k / 8 * kTokenStep<Dots>);
  if (first == 0) FetchAheadOfHeader(block, past_caches);
  const std::uint8_t* bytes = block.codes + first * 4;
  const std::uint8_t* const end = bytes + StepsOf(block.length) * Code::kStepBytes;
  for (; bytes != end; bytes += Code::kStepBytes, x.Advance(kTokenStep<Dots>)) {
    Unrolled<Dots::kStepWords>([&](auto word) MARLIN_INLINE {
      FetchWord<Code, kVectors, decltype(word)::value>(bytes, past_caches);
      Words weights[kVectors];
      Unrolled<kVectors>([&](auto v) MARLIN_INLINE {
        weights[v] = Code::template Word<decltype(word)::value>(bytes + v * kLanes * 4);
      });
      sums.Add(weights, [&](auto part, auto t) MARLIN_INLINE { return x.At(word * Dots::kParts + part, t); });
    });
  }
  FoldDirect<Code, 0, Tiles::kFirst>(tile, block, begin.first, first, sums, totals);
  if constexpr (Tiles::kSecond > 0) {
    FoldDirect<Code, Tiles::kFirst, Tiles::kSecond>(tile, block, begin.second, first, sums, totals);
  }
}

template <class Code, int T>
[[gnu::noinline]] void MatmulFewDots(const MatmulTile& tile) {
  float* const totals = tile.workspace;  // [T][64]
  ForEachBlock<kDotBlockLength>(tile, [&](const Block& block) {
    for (int first = 0; first < 64; first += Code::Dots::template kVectors<T> * kLanes) {
      DirectDots<Code, T>(tile, block, first, totals);
    }
  });
  CopyRows(tile, totals);
}

template <class Code, int T = Code::Dots::kMostTokens>
inline void MatmulDotsUpTo(const MatmulTile& tile) {
  if constexpr (T > 1) {
    if (tile.m < T) return MatmulDotsUpTo<Code, T - 1>(tile);
  }
  MatmulFewDots<Code, T>(tile);
}

// Some blocks whose weights are unpacked together.
struct DotChunk {
  std::size_t k = 0;  // of the first column
  std::size_t length = 0;
  std::size_t blocks = 0;
  std::size_t begins[kMostDotBlocks] = {};  // k of each block
  std::size_t steps[kMostDotBlocks] = {};
  const std::uint8_t* codes[kMostDotBlocks] = {};
};

struct DotProduct {
  const DotChunk* chunk;
  std::uint8_t* weights;        // [steps of all blocks][words of a step][64 rows] words
  const float* scales;          // [blocks][64]
  const float* offsets;         // [blocks][64]; unused where the format has none
  const std::uint32_t* packed;  // the tokens of this tile
  std::size_t cols;
  const float* in;  // [tokens][64] totals so far; null means zeros
  float* totals;    // [tokens][64], may be in
  float* out;       // [tokens][64], the totals after the last block; may be totals
  std::size_t out_stride;
};

// totals of a block: out[t][v] = fma(scale, value of the sum, in[t][v]).
template <class Dots, bool kOffset, int T, int kVectors, int kParts>
[[gnu::always_inline]] inline void FoldBlock(const DotProduct& p, std::size_t b, int first,
                                             const TileSums<Dots, T, kVectors, kParts>& sums) {
  const float* const in = b == 0 ? p.in : p.totals;
  const bool last = b + 1 == p.chunk->blocks;
  float* const out = last ? p.out : p.totals;
  const std::size_t out_stride = last ? p.out_stride : 64;
  const typename Dots::template TokenParams<T, kOffset> token(p.packed, p.cols, p.chunk->begins[b],
                                                              p.chunk->steps[b] * 8);
  const auto fold = [&](auto before) MARLIN_INLINE {
    Unrolled<kVectors>([&](auto v) MARLIN_INLINE {
      const int row = first + v * kLanes;
      const Vec scale = Load(p.scales + b * 64 + row);
      const Vec offset = kOffset ? Load(p.offsets + b * 64 + row) : Zero();
      Unrolled<T>([&](auto t) MARLIN_INLINE {
        const Vec value = token.Value(sums.Of(t, v), offset, t);
        Store(out + t * out_stride + row, Fma(scale, value, before(t, row)));
      });
    });
  };
  if (in == nullptr) {
    fold([](int, int) MARLIN_INLINE { return Zero(); });
  } else {
    fold([&](int t, int row) MARLIN_INLINE { return Load(in + t * 64 + row); });
  }
}

// T tokens, the rows of one register tile.
template <class Dots, int T, bool kOffset>
[[gnu::always_inline]] inline void DotTile(const DotProduct& p, int first) {
  const std::uint8_t* w = p.weights + first * 4;
  const std::uint32_t* x = p.packed + p.chunk->k / 8 * kTokenStep<Dots> * T;
  for (std::size_t b = 0; b < p.chunk->blocks; ++b) {
    TileSums<Dots, T> sums;
    sums.Start();
    const std::uint8_t* const end = w + p.chunk->steps[b] * Dots::kStepWords * 256;
    for (; w != end; w += 256, x += T * Dots::kParts) {
      Words row[Dots::template kVectors<T>];
      Unrolled<Dots::template kVectors<T>>([&](auto v) MARLIN_INLINE { row[v] = LoadWords(w + v * kLanes * 4); });
      sums.Add(row, [&](auto part, auto t) MARLIN_INLINE { return x + part * T + t; });
    }
    FoldBlock<Dots, kOffset>(p, b, first, sums);
  }
}

// The same for one part after the other: the sums of the first, times 256, are what those of the second begin with.
template <class Dots, int T, bool kOffset>
[[gnu::always_inline]] inline void DotTileInTurn(const DotProduct& p, int first) {
  constexpr int kVectors = Dots::template kVectorsInTurn<T>;
  const std::uint8_t* w = p.weights + first * 4;
  const std::uint32_t* x = p.packed + p.chunk->k / 8 * kTokenStep<Dots> * T;
  for (std::size_t b = 0; b < p.chunk->blocks; ++b) {
    TileSums<Dots, T, kVectors, 1> sums;
    sums.Start();
    const std::uint8_t* const end = w + p.chunk->steps[b] * Dots::kStepWords * 256;
    // One loop over both parts: GCC 12 keeps the sums of two in memory.
    const std::ptrdiff_t back = w - end;
    const std::uint8_t* at = w;
    const std::uint32_t* token = x;
    for (int part = 0;;) {
      Words row[kVectors];
      Unrolled<kVectors>([&](auto v) MARLIN_INLINE { row[v] = LoadWords(at + v * kLanes * 4); });
      sums.Add(row, [&](auto, auto t) MARLIN_INLINE { return token + t; });
      at += 256;
      token += Dots::kParts * T;
      if (at != end) continue;
      if (++part == Dots::kParts) break;
      sums.Raise();
      at += back;
      token = x + part * T;
    }
    w = end;
    x += p.chunk->steps[b] * kTokenStep<Dots> * T;
    FoldBlock<Dots, kOffset>(p, b, first, sums);
  }
}

// The same, unpacking the weights on the way.
template <class Code, int T>
[[gnu::always_inline]] inline void UnpackingDotTile(const DotProduct& p, int first) {
  using Dots = typename Code::Dots;
  constexpr int kVectors = Dots::template kVectors<T>;
  std::uint8_t* w = p.weights + first * 4;
  const std::uint32_t* x = p.packed + p.chunk->k / 8 * kTokenStep<Dots> * T;
  for (std::size_t b = 0; b < p.chunk->blocks; ++b) {
    TileSums<Dots, T> sums;
    sums.Start();
    const std::uint8_t* bytes = p.chunk->codes[b] + first * 4;
    const std::uint8_t* const end = bytes + p.chunk->steps[b] * Code::kStepBytes;
    for (; bytes != end; bytes += Code::kStepBytes, w += Dots::kStepWords * 256, x += kTokenStep<Dots> * T) {
      Unrolled<Dots::kStepWords>([&](auto word) MARLIN_INLINE {
        FetchWord<Code, kVectors, decltype(word)::value>(bytes, false);
        Words row[kVectors];
        Unrolled<kVectors>([&](auto v) MARLIN_INLINE {
          row[v] = Code::template Word<decltype(word)::value>(bytes + v * kLanes * 4);
          StoreWords(w + word * 256 + v * kLanes * 4, row[v]);
        });
        sums.Add(row, [&](auto part, auto t) MARLIN_INLINE { return x + (word * Dots::kParts + part) * T + t; });
      });
    }
    FoldBlock<Dots, kHasOffset<Code>>(p, b, first, sums);
  }
}

template <class Code, int T>
[[gnu::noinline]] void UnpackingDotTileOfTokens(const DotProduct& p) {
  for (int first = 0; first < 64; first += Code::Dots::template kVectors<T> * kLanes) {
    UnpackingDotTile<Code, T>(p, first);
  }
}

template <class Dots, int T, bool kOffset>
[[gnu::noinline]] void DotTileOfTokens(const DotProduct& p) {
  if constexpr (Dots::kParts > 1 && T > 3) {  // fewer tokens are too few sums
    constexpr int kRows = Dots::template kVectorsInTurn<T> * kLanes;
    for (int first = 0; first < 64; first += kRows) DotTileInTurn<Dots, T, kOffset>(p, first);
  } else {
    constexpr int kRows = Dots::template kVectors<T> * kLanes;
    for (int first = 0; first < 64; first += kRows) DotTile<Dots, T, kOffset>(p, first);
  }
}

template <class Dots, bool kOffset, int T = kTokenTile>
inline void MultiplyDotTokens(const DotProduct& p, std::size_t tokens) {
  if constexpr (T > 1) {
    if (tokens < T) return MultiplyDotTokens<Dots, kOffset, T - 1>(p, tokens);
  }
  DotTileOfTokens<Dots, T, kOffset>(p);
}

template <class Code, int kWord = 0>
[[gnu::always_inline]] inline void StoreStepWords(const std::uint8_t* bytes, std::uint8_t* to) {
  if constexpr (kWord < Code::Dots::kStepWords) {
    StoreWords(to + kWord * 256, Code::template Word<kWord>(bytes));
    StoreStepWords<Code, kWord + 1>(bytes, to);
  }
}

// Scales and offsets [64] of a block.
template <class Code>
inline void UnpackParams(const Block& block, float* scales, float* offsets) {
  FetchAheadOfHeader(block, false);
  for (int v = 0; v < kPanelVectors; ++v) {
    Store(scales + v * kLanes, Code::Scale(block.header, v * kLanes));
    if constexpr (kHasOffset<Code>) Store(offsets + v * kLanes, Code::Offset(block.header, v * kLanes));
  }
}

// The words of some steps, [steps][words of a step][64 rows].
template <class Code>
inline void UnpackWords(const std::uint8_t* codes, std::size_t steps, std::uint8_t* weights) {
  for (int v = 0; v < kPanelVectors; ++v) {
    const std::uint8_t* bytes = codes + v * kLanes * 4;
    std::uint8_t* to = weights + v * kLanes * 4;
    for (std::size_t s = 0; s < steps; ++s, bytes += Code::kStepBytes, to += Code::Dots::kStepWords * 256) {
      for (std::size_t line = 0; line < Code::kStepBytes; line += 256) FetchAhead(bytes + line, false);
      StoreStepWords<Code>(bytes, to);
    }
  }
}

// The words of a chunk, and the first tokens' product if it is done on the way.
template <class Code>
inline bool UnpackChunk(const DotProduct& p, std::size_t tokens) {
  if constexpr (Code::Dots::kUnpacksWhileMultiplying) {
    if (tokens == kTokenTile) {
      UnpackingDotTileOfTokens<Code, kTokenTile>(p);
      return true;
    }
  }
  std::uint8_t* weights = p.weights;
  for (std::size_t b = 0; b < p.chunk->blocks; ++b) {
    UnpackWords<Code>(p.chunk->codes[b], p.chunk->steps[b], weights);
    weights += p.chunk->steps[b] * Code::Dots::kStepWords * 256;
  }
  return false;
}

// A chunk times all tokens of the tile.
template <class Code>
inline void MultiplyChunk(const MatmulTile& tile, DotProduct p, float* totals) {
  using Dots = typename Code::Dots;
  const std::size_t token_words = Dots::WordsOfToken(p.cols);
  const bool last = p.chunk->k + p.chunk->length == p.cols;
  for (std::size_t t = 0; t < tile.m; t += kTokenTile) {
    p.packed = tile.packed + t * token_words;
    p.totals = totals + t * 64;
    p.in = p.chunk->k == 0 ? nullptr : p.totals;
    p.out = p.totals;
    p.out_stride = 64;
    if (last && tile.rows == 64) {  // the last chunk writes the result
      p.out = tile.y + t * tile.y_stride;
      p.out_stride = tile.y_stride;
    }
    // The next tokens are too far away for the hardware to foresee.
    const std::size_t next = t + kTokenTile;
    if (next < tile.m) {
      const std::size_t width = Smaller(tile.m - next, kTokenTile);
      const std::size_t step_words = kTokenStep<Dots> * width;
      const std::uint32_t* const ahead = tile.packed + next * token_words + p.chunk->k / 8 * step_words;
      for (std::size_t i = 0; i < StepsOf(p.chunk->length) * step_words; i += 16) __builtin_prefetch(ahead + i);
      Dots::FetchParams(tile.packed + next * token_words, p.cols, p.chunk->k, width);
    }
    const std::size_t tokens = Smaller(tile.m - t, kTokenTile);
    if (t == 0 && UnpackChunk<Code>(p, tokens)) continue;
    MultiplyDotTokens<Dots, kHasOffset<Code>>(p, tokens);
  }
}

template <class Code>
void MatmulManyDots(const MatmulTile& tile) {
  auto* const weights = reinterpret_cast<std::uint8_t*>(tile.workspace);
  float* const scales = tile.workspace + 64 * kDotBlockLength / 2;
  float* const offsets = scales + 64 * kMostDotBlocks;
  float* const totals = offsets + 64 * kMostDotBlocks;
  DotChunk chunk;
  ForEachBlock<kDotBlockLength>(tile, [&](const Block& block) {
    if (chunk.blocks == 0) chunk.k = block.k;
    const std::size_t b = chunk.blocks++;
    UnpackParams<Code>(block, scales + b * 64, offsets + b * 64);
    chunk.begins[b] = block.k;
    chunk.steps[b] = StepsOf(block.length);
    chunk.codes[b] = block.codes;
    chunk.length += block.length;
    const bool full = chunk.length + Smaller(tile.geometry->group, kDotBlockLength) > kDotBlockLength ||
                      chunk.blocks == kMostDotBlocks;
    if (!full && block.k + block.length != tile.geometry->cols) return;
    DotProduct product{};
    product.chunk = &chunk;
    product.weights = weights;
    product.scales = scales;
    product.offsets = offsets;
    product.cols = tile.geometry->cols;
    MultiplyChunk<Code>(tile, product, totals);
    chunk = {};
  });
  if (tile.rows != 64) CopyRows(tile, totals);
}

template <class Dots>
float RunDotPeak(std::size_t steps) noexcept {
  typename Dots::Sum chains[kPeakChains];
  // Chains that begin alike would be made once.
  const std::uint32_t small[kPeakChains] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  Words word = BroadcastWord(small);
  Unrolled<kPeakChains>([&](auto c)
                            MARLIN_INLINE { chains[c] = Dots::Add(Dots::Start(), BroadcastWord(small + c), word); });
  for (std::size_t i = 0; i < steps; ++i) {
    Unrolled<kPeakChains>([&](auto c) MARLIN_INLINE {
      chains[c] = Dots::Add(chains[c], word, word);
      Forget(word);  // or one product would serve them all
    });
  }
  float total = 0;
  Unrolled<kPeakChains>([&](auto c) MARLIN_INLINE { total += Dots::First(chains[c]); });
  return total;
}

// Words of 2 or 4 products, or of 4 halves of products.
template <class Dots>
constexpr PeakLoop kDotPeak = {2.0 * kLanes * 8 / kTokenStep<Dots>* kPeakChains, RunDotPeak<Dots>};

template <class Code>
void MatmulDots(const MatmulTile& tile) noexcept {
  if (tile.m > Code::Dots::kFewTokens) return MatmulManyDots<Code>(tile);
  MatmulTile part = tile;
  constexpr std::size_t kMost = Code::Dots::kMostTokens;
  for (std::size_t t = 0; t < tile.m; t += kMost) {
    part.m = Smaller(tile.m - t, kMost);
    part.packed = tile.packed + t * Code::Dots::WordsOfToken(tile.geometry->cols);
    part.y = tile.y + t * tile.y_stride;
    MatmulDotsUpTo<Code>(part);
  }
}

}  // namespace
}  // namespace marlin
