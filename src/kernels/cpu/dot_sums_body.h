// Sums of dot products in registers, and the prefetching for them. Part of dots_body.h, which has the interface.
#pragma once

#include <utility>

#include "kernels/cpu/matmul_body.h"
#include "kernels/cpu/offset_body.h"
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

// Words 0 .. kVectors - 1 of `weights` become word kWord of a step, of consecutive vectors of rows.
template <class Code, int kWord, int kVectors>
[[gnu::always_inline]] inline void DecodeWords(const std::uint8_t* bytes, Words (&weights)[kVectors]) {
  Unrolled<kVectors>([&](auto v) MARLIN_INLINE { weights[v] = Code::template Word<kWord>(bytes + v * kLanes * 4); });
}
template <int kVectors>
[[gnu::always_inline]] inline void LoadWordsOfRows(const std::uint8_t* from, Words (&weights)[kVectors]) {
  Unrolled<kVectors>([&](auto v) MARLIN_INLINE { weights[v] = LoadWords(from + v * kLanes * 4); });
}
// DecodeWords, and stored one behind the other.
template <class Code, int kWord, int kVectors>
[[gnu::always_inline]] inline void UnpackWords(const std::uint8_t* bytes, Words (&weights)[kVectors],
                                               std::uint8_t* to) {
  Unrolled<kVectors>([&](auto v) MARLIN_INLINE {
    weights[v] = Code::template Word<kWord>(bytes + v * kLanes * 4);
    StoreWords(to + v * kLanes * 4, weights[v]);
  });
}

// Prefetches, by fetch(line), a part of what a pass over kVectors vectors of rows reads in a step: the lines of word
// kWord. Requests for all lines at once would wait for each other.
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

// Prefetches bytes that are read later, a part at each of `visits` calls: many requests at once wait for each other.
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

// Prefetches the weights that are read kIntoL2Ahead later, in memory order, kBytes in each round of a pass. In the
// order of the passes, which skip the lines of other rows, a line from memory costs 2 cycles more.
template <int kBytes>
class PanelAhead {
 public:
  explicit PanelAhead(const std::uint8_t* begin) : at_(begin + kIntoL2Ahead) {
    asm("" : "+r"(step_));  // with known steps the compiler puts requests side by side
  }
  // Visit kVisit of kVisits in a round.
  template <int kVisit, int kVisits>
  [[gnu::always_inline]] void Visit() {
    Unrolled<kBytes / 64>([&](auto line) MARLIN_INLINE {
      if constexpr (line * kVisits / (kBytes / 64) == kVisit) {
        __builtin_prefetch(at_, 0, 2);
        at_ += step_;
      }
    });
  }

 private:
  const std::uint8_t* at_;
  std::size_t step_ = 64;
};

// Words of a token in a step.
template <class Dots>
constexpr std::size_t kTokenStep = Dots::kStepWords* Dots::kParts;

// Where FetchWord's lines go: into L1, or at once past the caches.
struct SoonNeeded {
  bool past_caches;
  [[gnu::always_inline]] void operator()(const std::uint8_t* line) const { FetchSoon(line, past_caches); }
};
struct NeededInL1 {
  [[gnu::always_inline]] void operator()(const std::uint8_t* line) const { __builtin_prefetch(line + kIntoL1Ahead); }
};

// What the words of a format, for one vector of rows, are larger by than its weights.
template <class Code>
[[gnu::always_inline]] inline auto DecodeOffset(const std::uint8_t* header, int row) {
  if constexpr (requires { Code::Offset(header, row); }) {
    return Code::Offset(header, row);
  } else {
    return NoOffset{};
  }
}
template <class Code>
using OffsetType = decltype(DecodeOffset<Code>(nullptr, 0));

// Tiles of many tokens that share the requests for later weights. A single fast tile would wait, because only a few
// requests are answered at a time.
template <class Dots>
constexpr int kAskingTiles = 4;
template <class Dots>
requires(Dots::kAskingTiles > 0) constexpr int kAskingTiles<Dots> = Dots::kAskingTiles;

// Tokens whose sums fit in the registers.
template <class Dots>
constexpr int kMostSums = static_cast<int>(Dots::kFewTokens);
template <class Dots>
requires(Dots::kMostSums > 0) constexpr int kMostSums<Dots> = Dots::kMostSums;

// Whether T tokens are multiplied in two passes: the high bytes of their numbers, then the low bytes.
template <class Dots, int T>
constexpr bool kTakesTwoPasses = false;
template <class Dots, int T>
requires(Dots::kParts == 2) constexpr bool kTakesTwoPasses<Dots, T> = T >= Dots::kLeastTwoPass;

// Vectors of rows of a register tile.
template <class Dots, int T, bool kTwoPass>
constexpr int VectorsOf() {
  if constexpr (kTwoPass) {
    return Dots::template kVectorsTwoPass<T>;
  } else {
    return Dots::template kVectors<T>;
  }
}

// Words of a row that are multiplied together: two where that takes fewer instructions.
template <class Dots>
constexpr int kWordsAtOnce = 1;
template <class Dots>
requires requires(typename Dots::Sum sum, Words word) { Dots::AddTwo(sum, word, word, word, word); }
constexpr int kWordsAtOnce<Dots> = 2;

// The word of a step that is multiplied i-th.
template <class Dots>
constexpr int WordAt(int i) {
  if constexpr (requires { Dots::WordAt(i); }) {
    return Dots::WordAt(i);
  } else {
    return i;
  }
}

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
  // kWords words of every row times the words at_token(word, part, token). At is a named struct, not a lambda: the
  // compiler then makes these functions once for all formats and places, which is most of the time it takes.
  template <int kWords, class At>
  [[gnu::always_inline]] void Add(const Words (&weights)[kWords][kVectors], At at_token) {
    Unrolled<kParts>([&](auto part) MARLIN_INLINE {
      Unrolled<T>([&](auto t) MARLIN_INLINE {
        Words token[kWords];
        Unrolled<kWords>([&](auto word) MARLIN_INLINE { token[word] = BroadcastWord(at_token(word, part, t)); });
        Unrolled<kVectors>([&](auto v) MARLIN_INLINE {
          auto& sum = at[part][t][v];
          if constexpr (kWords == 2) {
            sum = Dots::AddTwo(sum, weights[0][v], token[0], weights[1][v], token[1]);
          } else {
            sum = Dots::Add(sum, weights[0][v], token[0]);
          }
        });
      });
    });
  }
  [[gnu::always_inline]] void Raise() {
    Unrolled<T>([&](auto t) MARLIN_INLINE {
      Unrolled<kVectors>([&](auto v) MARLIN_INLINE {
        at[0][t][v] = Dots::Raise(at[0][t][v]);
        HideFromCompiler(at[0][t][v]);
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

// Whether an instruction multiplies two rows by two tokens (many tokens only).
template <class Dots>
constexpr bool kHasTwoByTwo = requires(typename Dots::Sum sum, Words words) {
  Dots::AddTwoByTwo(sum, words, words);
};

// Words of a row that are unpacked side by side.
template <class Dots>
constexpr int kTogether = kHasTwoByTwo<Dots> ? 2 : 1;

// As TileSums, of two rows and two tokens each.
template <class Dots, int T>
struct TwoByTwoSums {
  static constexpr int kVectors = Dots::template kVectors<T>;
  static constexpr int kTokenPairs = (T + 1) / 2;  // of the last one half may be nothing
  typename Dots::Sum at[kTokenPairs][2 * kVectors];

  [[gnu::always_inline]] void Start() {
    Unrolled<kTokenPairs>([&](auto pair) MARLIN_INLINE {
      Unrolled<2 * kVectors>([&](auto v) MARLIN_INLINE { at[pair][v] = Dots::Start(); });
    });
  }
  // Two words of every row, as they are unpacked, times those of the tokens from x on. At least one word
  // after them is readable.
  [[gnu::always_inline]] void Add(const std::uint8_t* weights, const std::uint32_t* x) {
    Words tokens[kTokenPairs];
    Unrolled<kTokenPairs>([&](auto pair) MARLIN_INLINE { tokens[pair] = Dots::TokenTwoByTwo(x + 2 * pair, T); });
    Unrolled<2 * kVectors>([&](auto v) MARLIN_INLINE {
      const Words rows = LoadWords(weights + v * kLanes * 4);
      Unrolled<kTokenPairs>([&](auto pair)
                                MARLIN_INLINE { at[pair][v] = Dots::AddTwoByTwo(at[pair][v], rows, tokens[pair]); });
    });
  }
  [[gnu::always_inline]] typename Dots::Sum Of(int t, int v) const {
    const auto& pair = at[t / 2];
    return t % 2 == 0 ? Dots::template OfToken<0>(pair[2 * v], pair[2 * v + 1])
                      : Dots::template OfToken<1>(pair[2 * v], pair[2 * v + 1]);
  }
};

inline void ZeroTotals(float* totals, std::size_t tokens) {
  for (std::size_t i = 0; i < tokens * 64; i += kLanes) Store(totals + i, Zero());
}

}  // namespace
}  // namespace marlin
