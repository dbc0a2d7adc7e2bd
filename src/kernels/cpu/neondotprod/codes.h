// Quads of bytes on NEON with dot products: decoding weights (dots_body.h has the interface, layout.h the picture).
#pragma once

#include "kernels/cpu/neon/codes.h"
#include "kernels/cpu/neon/words.h"
// The body comes after the words it is written in.
#include "kernels/cpu/quads_body.h"

namespace marlin {
namespace {

struct QuadDots : QuadSums {
  template <int T>
  static constexpr int kVectors = 4;
  // Chosen by counting instructions of fp4, not by timing: 6 tokens take as many unpacked, 12 a sixth less.
  static constexpr std::size_t kFewTokens = 6;
  static constexpr bool kUnpacksWhileMultiplying = false;
  static Sum Add(Sum sum, Words weights, Words x) {
    return vdotq_s32(sum, vreinterpretq_s8_u32(weights), vreinterpretq_s8_u32(x));
  }
};

template <class SomeDots>
struct QuadCode {
  using Dots = SomeDots;
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

template <int kQuad>
inline uint8x16_t QuadOfNibbles(const std::uint8_t* bytes) {
  const ByteStep codes = SplitNibbles(bytes);
  return kQuad == 0 ? codes.first : codes.second;
}

inline int8x16_t Fp4Bytes() { return int8x16_t{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}; }
inline int8x16_t Iq4Bytes() {
  return int8x16_t{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
}

// Nibbles are indices of a table.
template <class Dots, int8x16_t (*Table)()>
struct TableQuads : QuadCode<Dots> {
  static constexpr std::size_t kStepBytes = 256;
  template <int kQuad>
  static Words Word(const std::uint8_t* bytes) {
    return vreinterpretq_u32_s8(vqtbl1q_s8(Table(), QuadOfNibbles<kQuad>(bytes)));
  }
};

template <class Dots>
using Iq4Quads = TableQuads<Dots, Iq4Bytes>;

// Values are doubled to be integers; the scale is halved, which is exact.
template <class Dots>
struct Fp4Quads : TableQuads<Dots, Fp4Bytes> {
  static Vec Scale(const std::uint8_t* header, int row) { return Mul(GroupScale(header, row), Set(0.5f)); }
};

template <class Dots>
struct Int4Quads : QuadCode<Dots> {
  static constexpr std::size_t kStepBytes = 256;
  static constexpr float kWordZero = 0;
  template <int kQuad>
  static Words Word(const std::uint8_t* bytes) {
    return vreinterpretq_u32_u8(QuadOfNibbles<kQuad>(bytes));
  }
  static Vec Offset(const std::uint8_t* header, int row) { return ZeroPoints(header, row); }
};

template <class Dots>
struct Int8Quads : QuadCode<Dots> {
  static constexpr std::size_t kStepBytes = 512;
  template <int kQuad>
  static Words Word(const std::uint8_t* bytes) {
    return LoadWords(bytes + 256 * kQuad);
  }
};

}  // namespace
}  // namespace marlin
