// Pairs of bf16 on NEON: rounding activations, decoding weights (pairs_body.h and dots_body.h have the interfaces,
// layout.h the picture).
#pragma once

#include "kernels/cpu/neon/codes.h"
#include "kernels/cpu/neon/words.h"
// The body comes after the words it is written in.
#include "kernels/cpu/pairs_body.h"

namespace marlin {
namespace {

struct PairDots : PairSums, TwoByTwo {
  template <int T>
  static constexpr int kVectors = 4;
  // Chosen by counting instructions of fp4, not by timing: 4 tokens take as many unpacked; GCC 12 spills the sums of
  // more.
  static constexpr std::size_t kFewTokens = 4;
  static constexpr bool kUnpacksWhileMultiplying = false;
  // Rounds twice, to odd: the sum of the two products, and its sum with `sum`. With FEAT_EBF16 a processor may round
  // once, to nearest, so machines differ in the last bits.
  static Sum Add(Sum sum, Words weights, Words x) {
    return vbfdotq_f32(sum, vreinterpretq_bf16_u32(weights), vreinterpretq_bf16_u32(x));
  }
  // The same twice, one pair after the other, so with the same bits.
  static Sum AddTwoByTwo(Sum sum, Words rows, Words tokens) {
    return vbfmmlaq_f32(sum, vreinterpretq_bf16_u32(rows), vreinterpretq_bf16_u32(tokens));
  }
};

struct PairCodeBase {
  using Dots = PairDots;
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

// Code: one whose step is pairs of bf16.
template <class Code>
struct PairsOf : PairCodeBase {
  static constexpr std::size_t kStepBytes = 256;
  template <int kPair>
  static Words Word(const std::uint8_t* bytes) {
    return Code::Load(bytes, {}).pair[kPair];
  }
};
using Fp4Pairs = PairsOf<Fp4Code>;
using Iq4Pairs = PairsOf<Iq4Code>;

// Words hold code - 8; zero point - 8 times the sum of x is subtracted from sums, which is cheaper than from weights.
struct Int4Pairs : PairCodeBase {
  static constexpr std::size_t kStepBytes = 256;
  static constexpr float kWordZero = 8;
  template <int kPair>
  static Words Word(const std::uint8_t* bytes) {
    const uint8x16_t low = {0x00, 0xe0, 0xc0, 0xa0, 0x80, 0x40, 0x00, 0x80,  //
                            0x00, 0x80, 0x00, 0x40, 0x80, 0xa0, 0xc0, 0xe0};
    const uint8x16_t high = {0xc1, 0xc0, 0xc0, 0xc0, 0xc0, 0xc0, 0xc0, 0xbf,  //
                             0x00, 0x3f, 0x40, 0x40, 0x40, 0x40, 0x40, 0x40};
    return PairsOfNibbles(bytes, low, high).pair[kPair];
  }
  static Vec Offset(const std::uint8_t* header, int row) { return Sub(ZeroPoints(header, row), Set(8.0f)); }
};

struct Int8Pairs : PairCodeBase {
  static constexpr std::size_t kStepBytes = 512;
  // Integers up to 256 are exact in bf16: the upper half of their fp32.
  template <int kPair>
  static Words Word(const std::uint8_t* bytes) {
    const ByteStep step = Int8Code::Load(bytes, {});
    const uint32x4_t low = vreinterpretq_u32_f32(Int8Code::Value<kPairs[kPair][0]>(step, {}));
    const uint32x4_t high = vreinterpretq_u32_f32(Int8Code::Value<kPairs[kPair][1]>(step, {}));
    return vsriq_n_u32(high, low, 16);
  }
};

struct Bf16Pairs : PairCodeBase {
  static constexpr std::size_t kStepBytes = 1024;
  template <int kPair>
  static Words Word(const std::uint8_t* bytes) {
    return LoadWords(bytes + 256 * kPair);
  }
  static Vec Scale(const std::uint8_t*, int) { return Set(1.0f); }
};

struct PairRounding {
  static constexpr std::size_t kColumns = 8;
  static Words Pairs(const float* x, std::size_t count) {
    const bfloat16x8_t rounded =
        vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(LoadUpTo(x, count)), LoadUpTo(x + 4, count > 4 ? count - 4 : 0));
    const uint8x16_t order = {0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15};  // of kPairs
    return vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_bf16(rounded), order));
  }
  static float SumOf(Words pairs) {
    const Vec low = vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16));
    const Vec high = vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000)));
    return ReduceAdd(Add(low, high));
  }
};

}  // namespace
}  // namespace marlin
