// Few tokens: codes become words in registers. Part of dots_body.h, which has the interface.
#pragma once

#include "kernels/cpu/dot_sums_body.h"

namespace marlin {
namespace {

// The packed words of T tokens, in one tile of activations or in two.
template <class Dots, int T>
struct WordsOfTiles {
  static constexpr int kFirst = TokenTiles(T).Width(0);
  static constexpr int kSecond = T - kFirst;
  static_assert(TokenTiles(T).count <= 2);
  const std::uint32_t* first;
  const std::uint32_t* second;

  WordsOfTiles(const std::uint32_t* packed, std::size_t cols)
      : first(packed), second(packed + (kSecond == 0 ? 0 : kFirst * Dots::WordsOfToken(cols))) {}
  [[gnu::always_inline]] void Advance(std::size_t words) {
    first += words * kFirst;
    second += words * kSecond;
  }
  // Word `word` from here of token t.
  [[gnu::always_inline]] const std::uint32_t* At(int word, int t) const {
    return t < kFirst ? first + word * kFirst + t : second + word * kSecond + (t - kFirst);
  }
};

// For TileSums: the words of T tokens that belong to words `first`, `first` + 1, ... of a step in the order in which
// they are multiplied.
template <class Dots, int T>
struct DirectWords {
  const WordsOfTiles<Dots, T>& x;
  int first;
  [[gnu::always_inline]] const std::uint32_t* operator()(int i, int part, int t) const {
    return x.At(WordAt<Dots>(first + i) * Dots::kParts + part, t);
  }
};
// The same for one part of word `word`.
template <class Dots, int T>
struct DirectWordsOfPart {
  const WordsOfTiles<Dots, T>& x;
  int word;
  [[gnu::always_inline]] const std::uint32_t* operator()(int, int, int t) const { return x.At(word, t); }
};

// Parameters of the tokens for the sums over a block; the tokens are packed in one tile or two. They are copied before
// the loops of the sums, because addresses computed after the loops would delay the next sums.
template <class Dots, int T, class Offset>
class BlockParams {
  using Tiles = WordsOfTiles<Dots, T>;
  template <int kTokens>
  using Tile = typename Dots::template TokenParams<kTokens, Offset>;

 public:
  BlockParams(const MatmulTile& tile, const Block& block)
      : BlockParams(Tiles(tile.packed, tile.geometry->cols), tile.geometry->cols, block) {}
  template <int kToken>
  [[gnu::always_inline]] Vec AddTo(Vec total, Vec scale, typename Dots::Sum sum, Offset offset) const {
    if constexpr (kToken < Tiles::kFirst) {
      return first_.AddTo(total, scale, sum, offset, kToken);
    } else {
      return second_.AddTo(total, scale, sum, offset, kToken - Tiles::kFirst);
    }
  }

 private:
  [[gnu::always_inline]] BlockParams(const Tiles& words, std::size_t cols, const Block& block)
      : first_(words.first, cols, block.k, block.length), second_(words.second, cols, block.k, block.length) {
    first_.Keep();
    if constexpr (Tiles::kSecond > 0) second_.Keep();
  }

  Tile<Tiles::kFirst> first_;
  Tile<Tiles::kSecond == 0 ? 1 : Tiles::kSecond> second_;
};

// The sums of vector v of rows with T tokens, added to totals [T][64] from the first of its rows on.
template <int T, class Params, class Sums, class Offset>
[[gnu::always_inline]] inline void FoldVector(const Params& params, const Sums& sums, int v, Vec scale, Offset offset,
                                              float* totals) {
  Unrolled<T>([&](auto t) MARLIN_INLINE {
    float* const total = totals + t * 64;
    Store(total, params.template AddTo<decltype(t)::value>(Load(total), scale, sums.Of(t, v), offset));
  });
}

template <class Code, int T>
using ParamsOf = BlockParams<typename Code::Dots, T, OffsetType<Code>>;

// Adds a block to totals [T][64], for the rows of one register tile.
template <class Code, int T, class Sums>
[[gnu::always_inline]] inline void FoldDirect(const Block& block, const ParamsOf<Code, T>& params, int first,
                                              const Sums& sums, float* totals) {
  Unrolled<Sums::kVectors>([&](auto v) MARLIN_INLINE {
    const int row = first + v * kLanes;
    const Vec scale = Code::Scale(block.header, row);
    FoldVector<T>(params, sums, v, scale, DecodeOffset<Code>(block.header, row), totals + row);
  });
}

// Bytes of a step that a pass over kVectors vectors of rows reads.
template <class Code, int kVectors>
constexpr int kSweepBytes = static_cast<int>(Code::kStepBytes) / 64 * kVectors* kLanes;

// Start of the weights that a block's pass from row `first` on prefetches, without the distance: the passes of a block
// share its lines.
template <class Code>
inline const std::uint8_t* ShareOfBlock(const Block& block, int first) {
  return block.codes + StepsOf(block.length) * Code::kStepBytes * static_cast<std::size_t>(first) / 64;
}

// One block for T tokens and the rows of one register tile: adds to totals [T][64].
template <class Code, int T>
[[gnu::always_inline]] inline void DirectDots(const MatmulTile& tile, const Block& block,
                                              const ParamsOf<Code, T>& params, int first, float* totals) {
  using Dots = typename Code::Dots;
  using Tiles = WordsOfTiles<Dots, T>;
  constexpr int kVectors = Dots::template kVectors<T>;
  constexpr int kAtOnce = kWordsAtOnce<Dots>;
  constexpr bool kOneSweep = kVectors == kPanelVectors;
  const bool past_caches = kOneSweep && tile.fetch_past_caches;
  const Tiles begin(tile.packed, tile.geometry->cols);
  TileSums<Dots, T> sums;
  sums.Start();
  Tiles x = begin;
  x.Advance(block.k / 8 * kTokenStep<Dots>);
  if (first == 0) FetchAheadOfHeader(block, past_caches);
  PanelAhead<kSweepBytes<Code, kVectors>> later(ShareOfBlock<Code>(block, first));
  const std::uint8_t* bytes = block.codes + first * 4;
  const std::uint8_t* const end = bytes + StepsOf(block.length) * Code::kStepBytes;
  for (; bytes != end; bytes += Code::kStepBytes, x.Advance(kTokenStep<Dots>)) {
    Unrolled<Dots::kStepWords / kAtOnce>([&](auto group) MARLIN_INLINE {
      Words weights[kAtOnce][kVectors];
      Unrolled<kAtOnce>([&](auto i) MARLIN_INLINE {
        constexpr int kWord = WordAt<Dots>(decltype(group)::value * kAtOnce + decltype(i)::value);
        FetchWord<Code, kVectors, kWord>(bytes, SoonNeeded{past_caches});
        if (!past_caches) later.template Visit<kWord, Dots::kStepWords>();
        DecodeWords<Code, kWord>(bytes, weights[i]);
      });
      sums.Add(weights, DirectWords<Dots, T>{x, group * kAtOnce});
    });
  }
  FoldDirect<Code, T>(block, params, first, sums, totals);
}

// The same in two passes, high bytes then low bytes, with sums for one pass: the sums of the first pass, times 256, are
// the start of the second. The words are stored in `unpacked` between the passes.
template <class Code, int T>
[[gnu::always_inline]] inline void DirectDotsTwoPass(const MatmulTile& tile, const Block& block,
                                                     const ParamsOf<Code, T>& params, int first, std::uint8_t* unpacked,
                                                     float* totals) {
  using Dots = typename Code::Dots;
  constexpr int kVectors = Dots::template kVectorsTwoPass<T>;
  constexpr std::size_t kUnpackedStep = Dots::kStepWords * kVectors * kLanes * 4;
  const WordsOfTiles<Dots, T> begin(tile.packed, tile.geometry->cols);
  WordsOfTiles<Dots, T> x = begin;
  x.Advance(block.k / 8 * kTokenStep<Dots>);
  const WordsOfTiles<Dots, T> from = x;
  TileSums<Dots, T, kVectors, 1> sums;
  sums.Start();
  if (first == 0) FetchAheadOfHeader(block, false);
  PanelAhead<kSweepBytes<Code, kVectors> / Dots::kParts> later(ShareOfBlock<Code>(block, first));
  const std::uint8_t* const codes = block.codes + first * 4;
  const std::uint8_t* bytes = codes;
  const std::uint8_t* const end = codes + StepsOf(block.length) * Code::kStepBytes;
  std::uint8_t* w = unpacked;
  constexpr SoonNeeded fetch{false};
  for (; bytes != end; bytes += Code::kStepBytes, x.Advance(kTokenStep<Dots>), w += kUnpackedStep) {
    FetchWord<Code, kVectors, 0>(bytes, fetch);
    later.template Visit<0, 1>();
    Unrolled<Dots::kStepWords>([&](auto word) MARLIN_INLINE {
      Words weights[1][kVectors];
      UnpackWords<Code, decltype(word)::value>(bytes, weights[0], w + word * kVectors * kLanes * 4);
      sums.Add(weights, DirectWordsOfPart<Dots, T>{x, word * Dots::kParts});
    });
  }
  sums.Raise();
  x = from;
  for (bytes = codes; bytes != end; bytes += Code::kStepBytes, x.Advance(kTokenStep<Dots>), unpacked += kUnpackedStep) {
    FetchWord<Code, kVectors, 1>(bytes, fetch);
    later.template Visit<0, 1>();
    Unrolled<Dots::kStepWords>([&](auto word) MARLIN_INLINE {
      Words weights[1][kVectors];
      LoadWordsOfRows(unpacked + word * kVectors * kLanes * 4, weights[0]);
      sums.Add(weights, DirectWordsOfPart<Dots, T>{x, word * Dots::kParts + 1});
    });
  }
  FoldDirect<Code, T>(block, params, first, sums, totals);
}

// One block for T tokens and all rows: adds to totals [T][64].
template <class Code, int T>
[[gnu::always_inline]] inline void DirectBlock(const MatmulTile& tile, const Block& block, std::uint8_t* unpacked,
                                               float* totals) {
  constexpr bool kTwoPass = kTakesTwoPasses<typename Code::Dots, T>;
  const ParamsOf<Code, T> params(tile, block);
  for (int first = 0; first < 64; first += VectorsOf<typename Code::Dots, T, kTwoPass>() * kLanes) {
    if constexpr (kTwoPass) {
      DirectDotsTwoPass<Code, T>(tile, block, params, first, unpacked, totals);
    } else {
      DirectDots<Code, T>(tile, block, params, first, totals);
    }
  }
}

// The same as a function of its own, which all numbers of tokens with two tiles share.
template <class Code, int T>
[[gnu::noinline]] void DirectBlockOfTile(const MatmulTile& tile, const Block& block, std::uint8_t* unpacked,
                                         float* totals) {
  DirectBlock<Code, T>(tile, block, unpacked, totals);
}

template <class Code, int T>
[[gnu::noinline]] void MatmulFewDots(const MatmulTile& tile) {
  using Dots = typename Code::Dots;
  float* const totals = tile.workspace;  // [T][64]
  auto* const unpacked = reinterpret_cast<std::uint8_t*>(totals + T * 64);
  ZeroTotals(totals, T);
  if constexpr (T <= kMostSums<Dots>) {
    ForEachBlock<kDotBlockLength>(tile,
                                  [&](const Block& block) { DirectBlock<Code, T>(tile, block, unpacked, totals); });
  } else {
    constexpr int kFirst = WordsOfTiles<Dots, T>::kFirst;
    MatmulTile second = tile;
    second.packed = WordsOfTiles<Dots, T>(tile.packed, tile.geometry->cols).second;
    ForEachBlock<kDotBlockLength>(tile, [&](const Block& block) {
      DirectBlockOfTile<Code, kFirst>(tile, block, unpacked, totals);
      DirectBlockOfTile<Code, T - kFirst>(second, block, unpacked, totals + kFirst * 64);
    });
  }
  CopyRows(tile, totals);
}

template <class Code, int T>
inline void MatmulDotsUpTo(const MatmulTile& tile) {
  if constexpr (T > 1) {
    if (tile.m < T) return MatmulDotsUpTo<Code, T - 1>(tile);
  }
  MatmulFewDots<Code, T>(tile);
}

}  // namespace
}  // namespace marlin
