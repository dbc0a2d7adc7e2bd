// What is subtracted from sums of products, times the sum of x, because a format's words differ from its weights
// (dots_body.h): nothing, a number per row, or a number and a rest per row. Included after an instruction set's
// words.h; everything has internal linkage.
#pragma once

#include "kernels/cpu/tile.h"

namespace marlin {
namespace {

struct NoOffset {};

// `whole` is a Vec, or Words where it takes part in sums of integers; `rest` is subtracted after it, in fp32.
template <class Whole>
struct SplitOffset {
  Whole whole;
  Vec rest;
};

template <class Offset>
constexpr bool kReadsInputSums = true;
template <>
constexpr bool kReadsInputSums<NoOffset> = false;

// Offsets of the blocks of a chunk are kept as [blocks][64] of 32 bits; rests are as far behind them.
constexpr std::size_t kOffsetsOfChunk = 64 * kMostDotBlocks;

inline void StoreOffset(float*, NoOffset) {}
inline void StoreOffset(float* p, Vec a) { Store(p, a); }
inline void StoreOffset(float* p, Words a) { StoreWords(p, a); }
template <class Whole>
inline void StoreOffset(float* p, SplitOffset<Whole> a) {
  StoreOffset(p, a.whole);
  Store(p + kOffsetsOfChunk, a.rest);
}

inline void LoadOffset(const float*, NoOffset&) {}
inline void LoadOffset(const float* p, Vec& a) { a = Load(p); }
inline void LoadOffset(const float* p, Words& a) { a = LoadWords(reinterpret_cast<const std::uint8_t*>(p)); }
template <class Whole>
inline void LoadOffset(const float* p, SplitOffset<Whole>& a) {
  LoadOffset(p, a.whole);
  a.rest = Load(p + kOffsetsOfChunk);
}

// The sum in fp32, less the offset times the sum of x at `input`. Sums:
//   ToFp32(sum), Without(offset, input, sum)
//   WithoutRest(rest, input, value)   value is in fp32 already
template <class Sums, class Sum, class InputSum>
[[gnu::always_inline]] inline Vec Subtract(NoOffset, const InputSum*, Sum sum) {
  return Sums::ToFp32(sum);
}
template <class Sums, class Sum, class InputSum, class Whole>
[[gnu::always_inline]] inline Vec Subtract(Whole offset, const InputSum* input, Sum sum) {
  return Sums::Without(offset, input, sum);
}
template <class Sums, class Sum, class InputSum, class Whole>
[[gnu::always_inline]] inline Vec Subtract(SplitOffset<Whole> offset, const InputSum* input, Sum sum) {
  return Sums::WithoutRest(offset.rest, input, Sums::Without(offset.whole, input, sum));
}

}  // namespace
}  // namespace marlin
