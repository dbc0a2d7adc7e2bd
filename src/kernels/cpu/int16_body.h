// Activations in int16: packing, and the common part of their dot products (dots_body.h). Included after an
// instruction set's words.h and AddPairs(sum, a, b): sum + the products of the int16 in a and b, a pair per lane. How
// it packs is a struct with Join(low, high): the words of 2 kLanes integers of 16 bits, pairs of them or quads of their
// bytes.
#pragma once

#include "kernels/cpu/ints_body.h"

namespace marlin {
namespace {

// An offset times a sum of x takes a dot product of pairs: (offset, 128 offset) with minus the sum, which is stored
// as a + 128 b.
constexpr int kOffsetPair = 1 + (128 << 16);
struct OffsetsInPairs {
  using InputSum = std::uint32_t;
  static Vec Without(Words offset, const std::uint32_t* input, Ints sum) {
    return ToFloats(AddPairs(sum, offset, BroadcastWord(input)));
  }
  static float InFp32(std::uint32_t pair) {
    const int minus = static_cast<int>(pair & 0xffff) + 128 * static_cast<std::int16_t>(pair >> 16);
    return static_cast<float>(-minus);
  }
};

// Sums are below 128 x 2^15 x 128 = 2^29: exact. They are rounded once, to fp32.
struct IntPairSums : IntSums<4, 1, OffsetsInPairs> {
  static std::size_t WordsOfToken(std::size_t k) { return Int16Words(k); }
};

// With the offset of unsigned weights sums are below 255 x 2^15 x 128 < 2^30.
struct SplitQuadSums : IntSums<2, 2, OffsetsInPairs> {
  static std::size_t WordsOfToken(std::size_t k) { return Int16Words(k); }
};

template <class Packing>
inline void PackInt16OfTile(const TokensToPack& tokens, std::size_t k) {
  constexpr std::size_t kColumns = 2 * kLanes;
  static_assert(kSumLength % kColumns == 0);
  const std::size_t count = (k + 7) / 8 * 4;
  std::uint32_t* const scales = tokens.words + count * tokens.count;
  std::uint32_t* const sums_begin = scales + InputScales(k) * tokens.count;
  SumsOfToken<std::uint32_t> sums_of[kTokenTile];
  float inverse[kTokenTile] = {};
  Ints sums[kTokenTile];
  for (Ints& sum : sums) sum = ZeroInts();
  for (std::size_t i = 0; i < k; i += kColumns) {
    const std::size_t next = i + kLanes;
    Words words[kTokenTile];
    for (std::size_t t = 0; t < tokens.count; ++t) {
      const float* const row = tokens.x + t * tokens.x_stride;
      if (i % kScaleLength == 0) {
        const InputScale scale(row + i, k - i, kMostInt16);
        inverse[t] = scale.inverse;
        PutFloat(scales + i / kScaleLength * tokens.count + t, scale.scale);
      }
      const Vec factor = Set(inverse[t]);
      const Ints low = Nearest(Mul(LoadUpTo(row + i, k - i), factor));
      const Ints high = k > next ? Nearest(Mul(LoadUpTo(row + next, k - next), factor)) : ZeroInts();
      sums[t] = AddInts(sums[t], AddInts(low, high));
      words[t] = Packing::Join(low, high);
    }
    StoreTile(words, count - i / 2, i / 2, tokens);
    if (!EndsSum(i, kColumns, k)) continue;
    for (std::size_t t = 0; t < tokens.count; ++t) {
      const auto sum = static_cast<std::uint32_t>(ReduceInts(sums[t]));
      sums_of[t].Put(sum, i, kColumns, k, sums_begin + t, tokens.count);
      sums[t] = ZeroInts();
    }
  }
}

template <class Packing>
void PackInt16(const float* x, std::size_t x_stride, std::size_t m, std::size_t k, std::uint32_t* words) noexcept {
  ForTokenTiles(x, x_stride, m, Int16Words(k), words,
                [&](const TokensToPack& tokens) { PackInt16OfTile<Packing>(tokens, k); });
}

}  // namespace
}  // namespace marlin
