// Many tokens: words are unpacked into the L1 cache first. Part of dots_body.h, which has the interface.
#pragma once

#include "kernels/cpu/dot_sums_body.h"

namespace marlin {
namespace {

// Some blocks whose weights are unpacked together.
struct DotChunk {
  std::size_t k = 0;  // of the first column
  std::size_t length = 0;
  std::size_t blocks = 0;
  std::size_t begins[kMostDotBlocks] = {};  // k of each block
  std::size_t steps[kMostDotBlocks] = {};
  std::size_t all_steps = 0;
  const std::uint8_t* codes[kMostDotBlocks] = {};
  const std::uint8_t* end = nullptr;  // of the codes
};

struct DotProduct {
  const DotChunk* chunk;
  std::uint8_t* weights;        // [steps of all blocks][words of a step][64 rows] words
  const float* scales;          // [blocks][64]
  const float* offsets;         // [blocks][64], 32 bits each, as offset_body.h stores them
  const std::uint32_t* packed;  // the tokens of this tile
  std::size_t cols;
  float* totals;                   // [tokens][64], added to
  const std::uint8_t* next_input;  // what the next tile reads of the input
  std::size_t next_input_bytes;
  const std::uint8_t* later_weights;  // this tile's share of the weights that a later chunk reads
  std::size_t later_weights_bytes;

  // How often register tiles of kVectors vectors of rows read a word of each row; each word is read `parts` times.
  template <class Dots, int kVectors>
  std::size_t Visits(int parts) const {
    return chunk->all_steps * Dots::kStepWords * static_cast<std::size_t>(kPanelVectors / kVectors * parts);
  }
};

// For TileSums: the words of a packed tile of T tokens, `parts` for one of a row.
template <class Dots, int T>
struct PackedWords {
  const std::uint32_t* x;
  [[gnu::always_inline]] const std::uint32_t* operator()(int i, int part, int t) const {
    return x + (i * Dots::kParts + part) * T + t;
  }
};
// Those of a step, in the order in which they are multiplied, from `first` on.
template <class Dots, int T>
struct PackedStepWords {
  const std::uint32_t* x;
  int first;
  [[gnu::always_inline]] const std::uint32_t* operator()(int i, int part, int t) const {
    return x + (WordAt<Dots>(first + i) * Dots::kParts + part) * T + t;
  }
};

// The register tiles of T tokens, one after the other; with kTwoPass high bytes first, then low bytes.
template <class Dots, int T, class Offset, bool kTwoPass>
class TileRun {
 public:
  static constexpr int kVectors = VectorsOf<Dots, T, kTwoPass>();
  static constexpr int kParts = kTwoPass ? 1 : Dots::kParts;
  using Sums = TileSums<Dots, T, kVectors, kParts>;

  explicit TileRun(const DotProduct& p)
      : p_(p),
        input_(p.next_input, p.next_input_bytes, p.Visits<Dots, kVectors>(Dots::kParts / kParts)),
        weights_(p.later_weights, p.later_weights_bytes, p.Visits<Dots, kVectors>(Dots::kParts / kParts)) {}
  template <bool kWeights = (kAskingTiles<Dots> > 1)>
  [[gnu::always_inline]] void Fetch() {
    input_.IntoL1();
    if constexpr (kWeights) weights_.IntoL2();
  }
  const std::uint32_t* Input() const { return p_.packed + p_.chunk->k / 8 * kTokenStep<Dots> * T; }

  // A block's totals: totals[t][v] = fma(scale, value of the sum, totals[t][v]).
  template <class SomeSums>
  [[gnu::always_inline]] void Fold(std::size_t b, int first, const SomeSums& sums) const {
    const typename Dots::template TokenParams<T, Offset> token(p_.packed, p_.cols, p_.chunk->begins[b],
                                                               p_.chunk->steps[b] * 8);
    const float* const scales = p_.scales + b * 64 + first;
    const float* const offsets = p_.offsets + b * 64 + first;
    float* const totals = p_.totals + first;
    Unrolled<kVectors>([&](auto v) MARLIN_INLINE {
      const Vec scale = Load(scales + v * kLanes);
      Offset offset;
      LoadOffset(offsets + v * kLanes, offset);
      Unrolled<T>([&](auto t) MARLIN_INLINE {
        float* const total = totals + t * 64 + v * kLanes;
        Store(total, token.AddTo(Load(total), scale, sums.Of(t, v), offset, t));
      });
    });
  }

 private:
  const DotProduct& p_;
  Ahead input_;
  Ahead weights_;
};

// T tokens, the rows of one register tile.
template <class Dots, int T, class Offset>
[[gnu::always_inline]] inline void DotTile(const DotProduct& p, TileRun<Dots, T, Offset, false>& run, int first) {
  using Run = TileRun<Dots, T, Offset, false>;
  constexpr int kAtOnce = kWordsAtOnce<Dots>;
  const std::uint8_t* w = p.weights + first * 4;
  const std::uint32_t* x = run.Input();
  for (std::size_t b = 0; b < p.chunk->blocks; ++b) {
    typename Run::Sums sums;
    sums.Start();
    const std::uint8_t* const end = w + p.chunk->steps[b] * Dots::kStepWords * 256;
    for (; w != end; w += kAtOnce * 256, x += kAtOnce * Dots::kParts * T) {
      Words row[kAtOnce][Run::kVectors];
      Unrolled<kAtOnce>([&](auto i) MARLIN_INLINE {
        run.Fetch();
        LoadWordsOfRows(w + i * 256, row[i]);
      });
      sums.Add(row, PackedWords<Dots, T>{x});
    }
    run.Fold(b, first, sums);
  }
}

// The same in two passes: the sums of the high bytes, times 256, are the start of those of the low bytes.
template <class Dots, int T, class Offset>
[[gnu::always_inline]] inline void DotTileTwoPass(const DotProduct& p, TileRun<Dots, T, Offset, true>& run, int first) {
  using Run = TileRun<Dots, T, Offset, true>;
  const std::uint8_t* w = p.weights + first * 4;
  const std::uint32_t* x = run.Input();
  for (std::size_t b = 0; b < p.chunk->blocks; ++b) {
    typename Run::Sums sums;
    sums.Start();
    const std::uint8_t* const end = w + p.chunk->steps[b] * Dots::kStepWords * 256;
    // One loop over both parts: GCC 12 keeps the sums of two in memory.
    const std::ptrdiff_t back = w - end;
    const std::uint8_t* at = w;
    const std::uint32_t* token = x;
    for (int part = 0;;) {
      run.Fetch();
      Words row[1][Run::kVectors];
      LoadWordsOfRows(at, row[0]);
      sums.Add(row, PackedWords<Dots, T>{token});
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
    run.Fold(b, first, sums);
  }
}

// The same with products of two rows by two tokens.
template <class Dots, int T, class Offset>
[[gnu::always_inline]] inline void TwoByTwoTile(const DotProduct& p, TileRun<Dots, T, Offset, false>& run, int first) {
  const std::uint8_t* w = p.weights + first * 8;
  const std::uint32_t* x = run.Input();
  for (std::size_t b = 0; b < p.chunk->blocks; ++b) {
    TwoByTwoSums<Dots, T> sums;
    sums.Start();
    const std::uint8_t* const end = w + p.chunk->steps[b] * Dots::kStepWords * 256;
    for (; w != end; w += 512, x += 2 * T) {
      run.Fetch();
      run.Fetch();
      sums.Add(w, x);
    }
    run.Fold(b, first, sums);
  }
}

// The same in vectors of rows, unpacking the weights on the way.
template <class Code, int T>
[[gnu::always_inline]] inline void UnpackingDotTile(const DotProduct& p,
                                                    TileRun<typename Code::Dots, T, OffsetType<Code>, false>& run,
                                                    int first) {
  using Dots = typename Code::Dots;
  using Run = TileRun<Dots, T, OffsetType<Code>, false>;
  constexpr int kAtOnce = kWordsAtOnce<Dots>;
  std::uint8_t* w = p.weights + first * 4;
  const std::uint32_t* x = run.Input();
  for (std::size_t b = 0; b < p.chunk->blocks; ++b) {
    typename Run::Sums sums;
    sums.Start();
    const std::uint8_t* bytes = p.chunk->codes[b] + first * 4;
    const std::uint8_t* const end = bytes + p.chunk->steps[b] * Code::kStepBytes;
    for (; bytes != end; bytes += Code::kStepBytes, w += Dots::kStepWords * 256, x += kTokenStep<Dots> * T) {
      Unrolled<Dots::kStepWords / kAtOnce>([&](auto group) MARLIN_INLINE {
        Words row[kAtOnce][Run::kVectors];
        Unrolled<kAtOnce>([&](auto i) MARLIN_INLINE {
          constexpr int kWord = WordAt<Dots>(decltype(group)::value * kAtOnce + decltype(i)::value);
          run.template Fetch<true>();
          FetchWord<Code, Run::kVectors, kWord>(bytes, NeededInL1{});
          UnpackWords<Code, kWord>(bytes, row[i], w + kWord * 256);
        });
        sums.Add(row, PackedStepWords<Dots, T>{x, group * kAtOnce});
      });
    }
    run.Fold(b, first, sums);
  }
}

template <class Code, int T>
[[gnu::noinline]] void UnpackingDotTileOfTokens(const DotProduct& p) {
  TileRun<typename Code::Dots, T, OffsetType<Code>, false> run(p);
  for (int first = 0; first < 64; first += run.kVectors * kLanes) UnpackingDotTile<Code, T>(p, run, first);
}

template <class Dots, int T, class Offset>
[[gnu::noinline]] void DotTileOfTokens(const DotProduct& p) {
  constexpr bool kTwoPass = kTakesTwoPasses<Dots, T>;
  TileRun<Dots, T, Offset, kTwoPass> run(p);
  for (int first = 0; first < 64; first += run.kVectors * kLanes) {
    if constexpr (kTwoPass) {
      DotTileTwoPass<Dots, T, Offset>(p, run, first);
    } else if constexpr (kHasTwoByTwo<Dots>) {
      TwoByTwoTile<Dots, T, Offset>(p, run, first);
    } else {
      DotTile<Dots, T, Offset>(p, run, first);
    }
  }
}

template <class Dots, class Offset, int T = kTokenTile>
inline void MultiplyDotTokens(const DotProduct& p, std::size_t tokens) {
  if constexpr (T > 1) {
    if (tokens < T) return MultiplyDotTokens<Dots, Offset, T - 1>(p, tokens);
  }
  DotTileOfTokens<Dots, T, Offset>(p);
}

// Word kWord of a step and the word stored with it, of one vector of rows.
template <class Code, int kWord>
[[gnu::always_inline]] inline void StoreStepWords(const std::uint8_t* bytes, std::uint8_t* to) {
  using Dots = typename Code::Dots;
  const Words word = Code::template Word<kWord>(bytes);
  if constexpr (kHasTwoByTwo<Dots>) {
    const Words next = Code::template Word<kWord + 1>(bytes);
    StoreWords(to, Dots::Low(word, next));
    StoreWords(to + kLanes * 4, Dots::High(word, next));
  } else {
    StoreWords(to, word);
  }
}

// Scales and offsets [64] of a block.
template <class Code>
inline void UnpackParams(const Block& block, float* scales, float* offsets) {
  FetchAheadOfHeader(block, false);
  for (int v = 0; v < kPanelVectors; ++v) {
    Store(scales + v * kLanes, Code::Scale(block.header, v * kLanes));
    StoreOffset(offsets + v * kLanes, DecodeOffset<Code>(block.header, v * kLanes));
  }
}

// The words of some steps, [steps][words of a step][64 rows], or for AddTwoByTwo [steps][pairs of words][64 rows][2].
template <class Code>
inline void UnpackWords(const std::uint8_t* codes, std::size_t steps, std::uint8_t* weights) {
  using Dots = typename Code::Dots;
  constexpr int kWords = kTogether<Dots>;
  for (int v = 0; v < kPanelVectors; ++v) {
    const std::uint8_t* bytes = codes + v * kLanes * 4;
    std::uint8_t* to = weights + v * kLanes * 4 * kWords;
    for (std::size_t s = 0; s < steps; ++s, bytes += Code::kStepBytes, to += Dots::kStepWords * 256) {
      for (std::size_t line = 0; line < Code::kStepBytes; line += 256) __builtin_prefetch(bytes + line + kIntoL1Ahead);
      Unrolled<Dots::kStepWords / kWords>([&](auto i) MARLIN_INLINE {
        constexpr int kWord = decltype(i)::value * kWords;
        StoreStepWords<Code, kWord>(bytes, to + kWord * 256);
      });
    }
  }
}

// The narrowest tile that is multiplied while weights are unpacked: the first tile of more tokens than one takes has
// more than half of them.
constexpr int kLeastUnpackingTokens = kTokenTile / 2 + 1;

template <class Code, int T = kTokenTile>
inline void UnpackAndMultiply(const DotProduct& p, std::size_t tokens) {
  if constexpr (T > kLeastUnpackingTokens) {
    if (tokens < T) return UnpackAndMultiply<Code, T - 1>(p, tokens);
  }
  UnpackingDotTileOfTokens<Code, T>(p);
}

// The words of a chunk, and the first tile's product if it is done on the way.
template <class Code>
inline bool UnpackChunk(const DotProduct& p, std::size_t tokens) {
  if constexpr (Code::Dots::kUnpacksWhileMultiplying) {
    UnpackAndMultiply<Code>(p, tokens);
    return true;
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
  const TokenTiles tiles(tile.m);
  const std::size_t sharing = Smaller(tiles.count, kAskingTiles<Dots>);
  const std::size_t later = static_cast<std::size_t>(p.chunk->end - p.chunk->codes[0]) + tile.geometry->code_offset;
  for (std::size_t i = 0; i < tiles.count; ++i) {
    const std::size_t tokens = tiles.Width(i);
    const std::size_t t = tiles.Begin(i);
    const std::size_t next = t + tokens;
    p.packed = tile.packed + t * token_words;
    p.totals = totals + t * 64;
    // The next tile's input is too far away for the hardware prefetcher.
    const std::size_t width = next < tile.m ? tiles.Width(i + 1) : 0;
    const std::size_t step_words = kTokenStep<Dots> * width;
    p.next_input =
        reinterpret_cast<const std::uint8_t*>(tile.packed + next * token_words + p.chunk->k / 8 * step_words);
    p.next_input_bytes = p.chunk->all_steps * step_words * 4;
    if (width > 0) Dots::FetchParams(tile.packed + next * token_words, p.cols, p.chunk->k, width);
    p.later_weights = p.chunk->codes[0] + kIntoL2Ahead + later * Smaller(i, sharing) / sharing;
    p.later_weights_bytes = i < sharing ? (later + sharing - 1) / sharing : 0;
    if (i == 0 && UnpackChunk<Code>(p, tokens)) continue;
    MultiplyDotTokens<Dots, OffsetType<Code>>(p, tokens);
  }
}

template <class Code>
void MatmulManyDots(const MatmulTile& tile) noexcept {
  auto* const weights = reinterpret_cast<std::uint8_t*>(tile.workspace);
  float* const scales = tile.workspace + kUnpackedBytes / sizeof(float);
  float* const offsets = scales + 64 * kMostDotBlocks;
  float* const totals = offsets + 64 * kMostDotBlocks;
  ZeroTotals(totals, tile.m);
  DotChunk chunk;
  ForEachBlock<kDotBlockLength>(tile, [&](const Block& block) {
    if (chunk.blocks == 0) chunk.k = block.k;
    const std::size_t b = chunk.blocks++;
    UnpackParams<Code>(block, scales + b * 64, offsets + b * 64);
    chunk.begins[b] = block.k;
    chunk.steps[b] = StepsOf(block.length);
    chunk.all_steps += chunk.steps[b];
    chunk.codes[b] = block.codes;
    chunk.end = block.codes + chunk.steps[b] * Code::kStepBytes;
    chunk.length += block.length;
    const bool full = chunk.length + Smaller(tile.geometry->group, kDotBlockLength) > Code::Dots::kChunkLength ||
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
  CopyRows(tile, totals);
}

}  // namespace
}  // namespace marlin
