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

// Adds a block to totals [tokens][64], for the rows of one register tile and some of the tokens whose sums these are.
template <class Code, int kBegin, int kCount, class Sums>
[[gnu::always_inline]] inline void FoldSome(const MatmulTile& tile, const Block& block, const std::uint32_t* packed,
                                            int first, const Sums& sums, float* totals) {
  using Dots = typename Code::Dots;
  const typename Dots::template TokenParams<kCount, kHasOffset<Code>> token(packed, tile.geometry->cols, block.k,
                                                                            block.length);
  Unrolled<Sums::kVectors>([&](auto v) MARLIN_INLINE {
    const int row = first + v * kLanes;
    const Vec scale = Code::Scale(block.header, row);
    typename Dots::Offset offset{};
    if constexpr (kHasOffset<Code>) offset = Code::Offset(block.header, row);
    Unrolled<kCount>([&](auto t) MARLIN_INLINE {
      float* const total = totals + (kBegin + t) * 64 + row;
      Store(total, Fma(scale, token.Value(sums.Of(kBegin + t, v), offset, t), Load(total)));
    });
  });
}

// The same for all T tokens.
template <class Code, int T, class Sums>
[[gnu::always_inline]] inline void FoldDirect(const MatmulTile& tile, const Block& block,
                                              const WordsOfTiles<typename Code::Dots, T>& words, int first,
                                              const Sums& sums, float* totals) {
  using Tiles = WordsOfTiles<typename Code::Dots, T>;
  FoldSome<Code, 0, Tiles::kFirst>(tile, block, words.first, first, sums, totals);
  if constexpr (Tiles::kSecond > 0) {
    FoldSome<Code, Tiles::kFirst, Tiles::kSecond>(tile, block, words.second, first, sums, totals);
  }
}

// One block for T tokens and the rows of one register tile: adds to totals [T][64].
template <class Code, int T>
[[gnu::always_inline]] inline void DirectDots(const MatmulTile& tile, const Block& block, int first, float* totals) {
  using Dots = typename Code::Dots;
  using Tiles = WordsOfTiles<Dots, T>;
  constexpr int kVectors = Dots::template kVectors<T>;
  constexpr bool kOneSweep = kVectors == kPanelVectors;
  const bool past_caches = kOneSweep && tile.fetch_past_caches;
  const Tiles begin(tile.packed, tile.geometry->cols);
  TileSums<Dots, T> sums;
  sums.Start();
  Tiles x = begin;
  x.Advance(block.k / 8 * kTokenStep<Dots>);
  if (first == 0) FetchAheadOfHeader(block, past_caches);
  const std::uint8_t* bytes = block.codes + first * 4;
  const std::uint8_t* const end = bytes + StepsOf(block.length) * Code::kStepBytes;
  for (; bytes != end; bytes += Code::kStepBytes, x.Advance(kTokenStep<Dots>)) {
    Unrolled<Dots::kStepWords>([&](auto word) MARLIN_INLINE {
      FetchWord<Code, kVectors, decltype(word)::value>(
          bytes, [&](const std::uint8_t* line) MARLIN_INLINE { FetchAhead(line, past_caches); });
      Words weights[kVectors];
      Unrolled<kVectors>([&](auto v) MARLIN_INLINE {
        weights[v] = Code::template Word<decltype(word)::value>(bytes + v * kLanes * 4);
      });
      sums.Add(weights, [&](auto part, auto t) MARLIN_INLINE { return x.At(word * Dots::kParts + part, t); });
    });
  }
  FoldDirect<Code, T>(tile, block, begin, first, sums, totals);
}

// The same for one part after the other, with sums for one of them: those of the first, times 256, are what those of
// the second begin with. The words stay in `unpacked` in between.
template <class Code, int T>
[[gnu::always_inline]] inline void DirectDotsInTurn(const MatmulTile& tile, const Block& block, int first,
                                                    std::uint8_t* unpacked, float* totals) {
  using Dots = typename Code::Dots;
  constexpr int kVectors = Dots::template kVectors<T>;
  constexpr std::size_t kUnpackedStep = Dots::kStepWords * kVectors * kLanes * 4;
  const WordsOfTiles<Dots, T> begin(tile.packed, tile.geometry->cols);
  WordsOfTiles<Dots, T> x = begin;
  x.Advance(block.k / 8 * kTokenStep<Dots>);
  const WordsOfTiles<Dots, T> from = x;
  TileSums<Dots, T, kVectors, 1> sums;
  sums.Start();
  if (first == 0) FetchAheadOfHeader(block, false);
  const std::uint8_t* const codes = block.codes + first * 4;
  const std::uint8_t* bytes = codes;
  const std::uint8_t* const end = codes + StepsOf(block.length) * Code::kStepBytes;
  std::uint8_t* w = unpacked;
  const auto fetch = [](const std::uint8_t* line) MARLIN_INLINE { FetchAhead(line, false); };
  for (; bytes != end; bytes += Code::kStepBytes, x.Advance(kTokenStep<Dots>), w += kUnpackedStep) {
    FetchWord<Code, kVectors, 0>(bytes, fetch);
    Unrolled<Dots::kStepWords>([&](auto word) MARLIN_INLINE {
      Words weights[kVectors];
      Unrolled<kVectors>([&](auto v) MARLIN_INLINE {
        weights[v] = Code::template Word<decltype(word)::value>(bytes + v * kLanes * 4);
        StoreWords(w + (word * kVectors + v) * kLanes * 4, weights[v]);
      });
      sums.Add(weights, [&](auto, auto t) MARLIN_INLINE { return x.At(word * Dots::kParts, t); });
    });
  }
  sums.Raise();
  x = from;
  for (bytes = codes; bytes != end; bytes += Code::kStepBytes, x.Advance(kTokenStep<Dots>), unpacked += kUnpackedStep) {
    FetchWord<Code, kVectors, 1>(bytes, fetch);
    Unrolled<Dots::kStepWords>([&](auto word) MARLIN_INLINE {
      Words weights[kVectors];
      Unrolled<kVectors>([&](auto v)
                             MARLIN_INLINE { weights[v] = LoadWords(unpacked + (word * kVectors + v) * kLanes * 4); });
      sums.Add(weights, [&](auto, auto t) MARLIN_INLINE { return x.At(word * Dots::kParts + 1, t); });
    });
  }
  FoldDirect<Code, T>(tile, block, begin, first, sums, totals);
}

// Whether T few tokens are multiplied by one part of their numbers after the other.
template <class Dots, int T>
constexpr bool kTakesInTurn = false;
template <class Dots, int T>
requires(Dots::kParts == 2) constexpr bool kTakesInTurn<Dots, T> = T >= Dots::kFewInTurn;

template <class Code, int T>
[[gnu::noinline]] void MatmulFewDots(const MatmulTile& tile) {
  float* const totals = tile.workspace;  // [T][64]
  auto* const unpacked = reinterpret_cast<std::uint8_t*>(totals + T * 64);
  ZeroTotals(totals, T);
  ForEachBlock<kDotBlockLength>(tile, [&](const Block& block) {
    for (int first = 0; first < 64; first += Code::Dots::template kVectors<T> * kLanes) {
      if constexpr (kTakesInTurn<typename Code::Dots, T>) {
        DirectDotsInTurn<Code, T>(tile, block, first, unpacked, totals);
      } else {
        DirectDots<Code, T>(tile, block, first, totals);
      }
    }
  });
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
