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
//   kFewInTurn                              so many few tokens are multiplied in turn; where there are two parts
//   kUnpacksWhileMultiplying                the first tokens of many are multiplied while that is done
//   Sum, Start(), Add(sum, weights, x)
//   Join(high, low)                         256 times the sum, and that of the other part; where there are two
//   kVectorsInTurn                          as kVectors<T>, one part after the other,
//   Raise(sum)                              ... and 256 times the sum between them
//   AddSquare(sum, rows, tokens)            where an instruction multiplies two words of two rows by those of two
//   tokens:
//                                           a sum of each row with each token; the words of a row stand together
//   Low(a, b), High(a, b)                   ... such words of the first rows of a and b, and of the last
//   TokenSquare(x, width)                   ... those of tokens x[0] and x[1]; a token's words are `width` apart
//   OfToken<kToken>(low, high)              ... a token's sums with the rows of Low and of High
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
// Few tokens: codes become words in registers, which are kept in the L1 cache if they are needed in turn. Many: the
// words of 256 k in bytes, 128 k in pairs, are unpacked into the L1 cache first, those of two rows side by side where
// they are multiplied so.
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

// Asks, by fetch(line), for a part of what a sweep over kVectors vectors of rows reads in a step: the lines of word
// kWord, as all at once would wait for each other.
template <class Code, int kVectors, int kWord, class Fetch>
[[gnu::always_inline]] inline void FetchWord(const std::uint8_t* bytes, Fetch fetch) {
  constexpr int kLinesOfBlock = kVectors * kLanes * 4 < 64 ? 1 : kVectors * kLanes * 4 / 64;  // a block is 256 bytes
  Unrolled<static_cast<int>(Code::kStepBytes) / 256 * kLinesOfBlock>([&](auto number) MARLIN_INLINE {
    constexpr int kLine = decltype(number)::value;
    if constexpr (kLine % Code::Dots::kStepWords == kWord) {
      fetch(bytes + kLine / kLinesOfBlock * 256 + kLine % kLinesOfBlock * 64);
    }
  });
}

// Asks for bytes that are read later, a little at each of `visits` calls: many requests at once wait for each other.
class Ahead {
 public:
  Ahead(const std::uint8_t* begin, std::size_t bytes, std::size_t visits)
      : at_(begin), step_((bytes + visits - 1) / visits) {}
  [[gnu::always_inline]] void IntoL1() {
    __builtin_prefetch(at_);
    at_ += step_;
  }
  [[gnu::always_inline]] void IntoL2() {
    __builtin_prefetch(at_, 0, 2);
    at_ += step_;
  }

 private:
  const std::uint8_t* at_;
  std::size_t step_;
};

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

// Whether many tokens are multiplied two at a time by two rows.
template <class Dots>
constexpr bool kHasSquares = requires(typename Dots::Sum sum, Words words) {
  Dots::AddSquare(sum, words, words);
};

// As TileSums, of two rows and two tokens each.
template <class Dots, int T>
struct SquareSums {
  static constexpr int kVectors = Dots::template kVectors<T>;
  static constexpr int kTokenPairs = (T + 1) / 2;  // of the last one half may be nothing
  typename Dots::Sum at[kTokenPairs][2 * kVectors];

  [[gnu::always_inline]] void Start() {
    Unrolled<kTokenPairs>([&](auto pair) MARLIN_INLINE {
      Unrolled<2 * kVectors>([&](auto v) MARLIN_INLINE { at[pair][v] = Dots::Start(); });
    });
  }
  // Two words of every row, as they are unpacked, times those of the tokens from x on. Behind them at least a word can
  // be read.
  [[gnu::always_inline]] void Add(const std::uint8_t* weights, const std::uint32_t* x) {
    Words tokens[kTokenPairs];
    Unrolled<kTokenPairs>([&](auto pair) MARLIN_INLINE { tokens[pair] = Dots::TokenSquare(x + 2 * pair, T); });
    Unrolled<2 * kVectors>([&](auto v) MARLIN_INLINE {
      const Words rows = LoadWords(weights + v * kLanes * 4);
      Unrolled<kTokenPairs>([&](auto pair)
                                MARLIN_INLINE { at[pair][v] = Dots::AddSquare(at[pair][v], rows, tokens[pair]); });
    });
  }
  [[gnu::always_inline]] typename Dots::Sum Of(int t, int v) const {
    const auto& pair = at[t / 2];
    return t % 2 == 0 ? Dots::template OfToken<0>(pair[2 * v], pair[2 * v + 1])
                      : Dots::template OfToken<1>(pair[2 * v], pair[2 * v + 1]);
  }
};

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
    Vec offset = Zero();
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

inline void ZeroTotals(float* totals, std::size_t tokens) {
  for (std::size_t i = 0; i < tokens * 64; i += kLanes) Store(totals + i, Zero());
}

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

// Columns whose weights are unpacked together: they fill the work space, so that totals come and go as seldom as can
// be.
template <class Dots>
constexpr std::size_t kChunkLength = kUnpackedBytes / (64 * 4) * 8 / Dots::kStepWords;

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
  const float* offsets;         // [blocks][64]; unused where the format has none
  const std::uint32_t* packed;  // the tokens of this tile
  std::size_t cols;
  float* totals;                   // [tokens][64], added to
  const std::uint8_t* next_input;  // what the next tile reads of the input
  std::size_t next_input_bytes;
  const std::uint8_t* later_weights;  // this tile's share of the weights that a later chunk reads
  std::size_t later_weights_bytes;

  // How often register tiles of kVectors vectors of rows read a word of each of their rows, `parts` times the same.
  template <class Dots, int kVectors>
  std::size_t Visits(int parts) const {
    return chunk->all_steps * Dots::kStepWords * static_cast<std::size_t>(kPanelVectors / kVectors * parts);
  }
};

template <class Dots, int T, bool kInTurn>
constexpr int VectorsOf() {
  if constexpr (kInTurn) {
    return Dots::kVectorsInTurn;
  } else {
    return Dots::template kVectors<T>;
  }
}

// One register tile after the other of T tokens; in turn: the parts of their numbers one after the other.
template <class Dots, int T, bool kOffset, bool kInTurn>
class TileRun {
 public:
  static constexpr int kVectors = VectorsOf<Dots, T, kInTurn>();
  static constexpr int kParts = kInTurn ? 1 : Dots::kParts;
  using Sums = TileSums<Dots, T, kVectors, kParts>;

  explicit TileRun(const DotProduct& p)
      : p_(p),
        input_(p.next_input, p.next_input_bytes, p.Visits<Dots, kVectors>(Dots::kParts / kParts)),
        weights_(p.later_weights, p.later_weights_bytes, p.Visits<Dots, kVectors>(Dots::kParts / kParts)) {}
  [[gnu::always_inline]] void Fetch() {
    input_.IntoL1();
    weights_.IntoL2();
  }
  const std::uint32_t* Input() const { return p_.packed + p_.chunk->k / 8 * kTokenStep<Dots> * T; }

  // A block's totals: totals[t][v] = fma(scale, value of the sum, totals[t][v]).
  template <class SomeSums>
  [[gnu::always_inline]] void Fold(std::size_t b, int first, const SomeSums& sums) const {
    const typename Dots::template TokenParams<T, kOffset> token(p_.packed, p_.cols, p_.chunk->begins[b],
                                                                p_.chunk->steps[b] * 8);
    const float* const scales = p_.scales + b * 64 + first;
    const float* const offsets = p_.offsets + b * 64 + first;
    float* const totals = p_.totals + first;
    Unrolled<kVectors>([&](auto v) MARLIN_INLINE {
      const Vec scale = Load(scales + v * kLanes);
      const Vec offset = kOffset ? Load(offsets + v * kLanes) : Zero();
      Unrolled<T>([&](auto t) MARLIN_INLINE {
        float* const total = totals + t * 64 + v * kLanes;
        Store(total, Fma(scale, token.Value(sums.Of(t, v), offset, t), Load(total)));
      });
    });
  }

 private:
  const DotProduct& p_;
  Ahead input_;
  Ahead weights_;
};

// T tokens, the rows of one register tile.
template <class Dots, int T, bool kOffset>
[[gnu::always_inline]] inline void DotTile(const DotProduct& p, TileRun<Dots, T, kOffset, false>& run, int first) {
  using Run = TileRun<Dots, T, kOffset, false>;
  const std::uint8_t* w = p.weights + first * 4;
  const std::uint32_t* x = run.Input();
  for (std::size_t b = 0; b < p.chunk->blocks; ++b) {
    typename Run::Sums sums;
    sums.Start();
    const std::uint8_t* const end = w + p.chunk->steps[b] * Dots::kStepWords * 256;
    for (; w != end; w += 256, x += T * Dots::kParts) {
      run.Fetch();
      Words row[Run::kVectors];
      Unrolled<Run::kVectors>([&](auto v) MARLIN_INLINE { row[v] = LoadWords(w + v * kLanes * 4); });
      sums.Add(row, [&](auto part, auto t) MARLIN_INLINE { return x + part * T + t; });
    }
    run.Fold(b, first, sums);
  }
}

// The same for one part after the other: the sums of the first, times 256, are what those of the second begin with.
template <class Dots, int T, bool kOffset>
[[gnu::always_inline]] inline void DotTileInTurn(const DotProduct& p, TileRun<Dots, T, kOffset, true>& run, int first) {
  using Run = TileRun<Dots, T, kOffset, true>;
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
      Words row[Run::kVectors];
      Unrolled<Run::kVectors>([&](auto v) MARLIN_INLINE { row[v] = LoadWords(at + v * kLanes * 4); });
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
    run.Fold(b, first, sums);
  }
}

// The same in squares.
template <class Dots, int T, bool kOffset>
[[gnu::always_inline]] inline void SquareTile(const DotProduct& p, TileRun<Dots, T, kOffset, false>& run, int first) {
  const std::uint8_t* w = p.weights + first * 8;
  const std::uint32_t* x = run.Input();
  for (std::size_t b = 0; b < p.chunk->blocks; ++b) {
    SquareSums<Dots, T> sums;
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
                                                    TileRun<typename Code::Dots, T, kHasOffset<Code>, false>& run,
                                                    int first) {
  using Dots = typename Code::Dots;
  using Run = TileRun<Dots, T, kHasOffset<Code>, false>;
  std::uint8_t* w = p.weights + first * 4;
  const std::uint32_t* x = run.Input();
  for (std::size_t b = 0; b < p.chunk->blocks; ++b) {
    typename Run::Sums sums;
    sums.Start();
    const std::uint8_t* bytes = p.chunk->codes[b] + first * 4;
    const std::uint8_t* const end = bytes + p.chunk->steps[b] * Code::kStepBytes;
    for (; bytes != end; bytes += Code::kStepBytes, w += Dots::kStepWords * 256, x += kTokenStep<Dots> * T) {
      Unrolled<Dots::kStepWords>([&](auto word) MARLIN_INLINE {
        run.Fetch();
        FetchWord<Code, Run::kVectors, decltype(word)::value>(
            bytes, [](const std::uint8_t* line) MARLIN_INLINE { __builtin_prefetch(line + kIntoL1Ahead); });
        Words row[Run::kVectors];
        Unrolled<Run::kVectors>([&](auto v) MARLIN_INLINE {
          row[v] = Code::template Word<decltype(word)::value>(bytes + v * kLanes * 4);
          StoreWords(w + word * 256 + v * kLanes * 4, row[v]);
        });
        sums.Add(row, [&](auto part, auto t) MARLIN_INLINE { return x + (word * Dots::kParts + part) * T + t; });
      });
    }
    run.Fold(b, first, sums);
  }
}

template <class Code, int T>
[[gnu::noinline]] void UnpackingDotTileOfTokens(const DotProduct& p) {
  TileRun<typename Code::Dots, T, kHasOffset<Code>, false> run(p);
  for (int first = 0; first < 64; first += run.kVectors * kLanes) UnpackingDotTile<Code, T>(p, run, first);
}

template <class Dots, int T, bool kOffset>
[[gnu::noinline]] void DotTileOfTokens(const DotProduct& p) {
  constexpr bool kInTurn = Dots::kParts > 1 && T > 3;  // fewer tokens are too few sums
  TileRun<Dots, T, kOffset, kInTurn> run(p);
  for (int first = 0; first < 64; first += run.kVectors * kLanes) {
    if constexpr (kInTurn) {
      DotTileInTurn<Dots, T, kOffset>(p, run, first);
    } else if constexpr (kHasSquares<Dots>) {
      SquareTile<Dots, T, kOffset>(p, run, first);
    } else {
      DotTile<Dots, T, kOffset>(p, run, first);
    }
  }
}

template <class Dots, bool kOffset, int T = kTokenTile>
inline void MultiplyDotTokens(const DotProduct& p, std::size_t tokens) {
  if constexpr (T > 1) {
    if (tokens < T) return MultiplyDotTokens<Dots, kOffset, T - 1>(p, tokens);
  }
  DotTileOfTokens<Dots, T, kOffset>(p);
}

// Words of a row that are unpacked side by side.
template <class Dots>
constexpr int kTogether = kHasSquares<Dots> ? 2 : 1;

// Word kWord of a step and those that stand with it, of one vector of rows.
template <class Code, int kWord>
[[gnu::always_inline]] inline void StoreStepWords(const std::uint8_t* bytes, std::uint8_t* to) {
  using Dots = typename Code::Dots;
  const Words word = Code::template Word<kWord>(bytes);
  if constexpr (kHasSquares<Dots>) {
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
    if constexpr (kHasOffset<Code>) Store(offsets + v * kLanes, Code::Offset(block.header, v * kLanes));
  }
}

// The words of some steps, [steps][words of a step][64 rows], or of squares [steps][pairs of words][64 rows][2].
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
  // Weights of a later chunk are asked for by the first tiles: one alone waits for the few requests that are answered
  // at a time.
  const std::size_t sharing = Smaller(tiles.count, 4);
  const std::size_t later = static_cast<std::size_t>(p.chunk->end - p.chunk->codes[0]) + tile.geometry->code_offset;
  for (std::size_t i = 0; i < tiles.count; ++i) {
    const std::size_t tokens = tiles.Width(i);
    const std::size_t t = tiles.Begin(i);
    const std::size_t next = t + tokens;
    p.packed = tile.packed + t * token_words;
    p.totals = totals + t * 64;
    // The next tile's input is too far away for the hardware to foresee.
    const std::size_t width = next < tile.m ? tiles.Width(i + 1) : 0;
    const std::size_t step_words = kTokenStep<Dots> * width;
    p.next_input =
        reinterpret_cast<const std::uint8_t*>(tile.packed + next * token_words + p.chunk->k / 8 * step_words);
    p.next_input_bytes = p.chunk->all_steps * step_words * 4;
    if (width > 0) Dots::FetchParams(tile.packed + next * token_words, p.cols, p.chunk->k, width);
    p.later_weights = p.chunk->codes[0] + kIntoL2Ahead + later * Smaller(i, sharing) / sharing;
    p.later_weights_bytes = i < sharing ? (later + sharing - 1) / sharing : 0;
    if (i == 0 && UnpackChunk<Code>(p, tokens)) continue;
    MultiplyDotTokens<Dots, kHasOffset<Code>>(p, tokens);
  }
}

template <class Code>
void MatmulManyDots(const MatmulTile& tile) {
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
    const bool full =
        chunk.length + Smaller(tile.geometry->group, kDotBlockLength) > kChunkLength<typename Code::Dots> ||
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

// The most that one instruction multiplies.
template <class Dots>
[[gnu::always_inline]] inline typename Dots::Sum AddMost(typename Dots::Sum sum, Words weights, Words x) {
  if constexpr (kHasSquares<Dots>) {
    return Dots::AddSquare(sum, weights, x);
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
  Unrolled<kPeakChains>(
      [&](auto c) MARLIN_INLINE { chains[c] = AddMost<Dots>(Dots::Start(), BroadcastWord(small + c), word); });
  for (std::size_t i = 0; i < steps; ++i) {
    Unrolled<kPeakChains>([&](auto c) MARLIN_INLINE {
      chains[c] = AddMost<Dots>(chains[c], word, word);
      Forget(word);  // or one product would serve them all
    });
  }
  float total = 0;
  Unrolled<kPeakChains>([&](auto c) MARLIN_INLINE { total += Dots::First(chains[c]); });
  return total;
}

// Words of 2 or 4 products, or of 4 halves of products.
template <class Dots>
constexpr PeakLoop kDotPeak = {2.0 * kLanes* kTogether<Dots> * 8 / kTokenStep<Dots>* kPeakChains, RunDotPeak<Dots>};

template <class Code>
void MatmulDots(const MatmulTile& tile) noexcept {
  if (tile.m > Code::Dots::kFewTokens) return MatmulManyDots<Code>(tile);
  MatmulDotsUpTo<Code, static_cast<int>(Code::Dots::kFewTokens)>(tile);
}

}  // namespace
}  // namespace marlin
