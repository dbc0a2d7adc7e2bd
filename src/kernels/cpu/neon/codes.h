// How NEON decodes the weights of each format family (layout.h has the picture, direct_body.h the interface).
#pragma once

#include "kernels/cpu/neon/vec.h"
#include "kernels/layout.h"

namespace marlin {
namespace {

inline Vec GroupScale(const std::uint8_t* header, int row) {
  return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(header + 2 * row)));
}

// Shared by all steps of 8 columns: the 8 values of a token are in two registers, and NEON multiplies by their lanes.
struct EightColumns {
  static constexpr int kStep = 8;
  static constexpr int kVectorBytes = 16;
  template <int kK>
  static Vec FmaColumn(Vec value, const float* x, Vec sum) {
    return vfmaq_laneq_f32(sum, value, Load(x + kK / 4 * 4), kK % 4);
  }
};

// The 8 columns of a step as pairs of bf16: word r of pair[p] holds the columns kPairs[p] of row r.
struct PairStep {
  uint32x4_t pair[4];
};

// bf16 is the upper half of a float, and the values of all codes of 4 bits are exact in it.
template <int kK>
inline Vec ColumnOf(const PairStep& step) {
  const uint32x4_t word = step.pair[PairOf(kK)];
  return vreinterpretq_f32_u32(HalfOf(kK) == 0 ? vshlq_n_u32(word, 16) : vandq_u32(word, vdupq_n_u32(0xffff0000)));
}

// One byte per column: byte j of 32-bit word r is column j (first) or 4 + j (second) of row r.
struct ByteStep {
  uint8x16_t first;
  uint8x16_t second;
};

inline ByteStep SplitNibbles(const std::uint8_t* p) {
  const uint8x16_t word = vld1q_u8(p);
  return {vandq_u8(word, vdupq_n_u8(15)), vshrq_n_u8(word, 4)};
}

// From the low and the high bytes of bf16.
inline PairStep JoinBytes(const ByteStep& low, const ByteStep& high) {
  return {
      vreinterpretq_u32_u8(vtrn1q_u8(low.first, high.first)), vreinterpretq_u32_u8(vtrn1q_u8(low.second, high.second)),
      vreinterpretq_u32_u8(vtrn2q_u8(low.first, high.first)), vreinterpretq_u32_u8(vtrn2q_u8(low.second, high.second))};
}

// The nibbles of a step as bf16, from tables of their low and high bytes.
inline PairStep PairsOfNibbles(const std::uint8_t* p, uint8x16_t low, uint8x16_t high) {
  const ByteStep codes = SplitNibbles(p);
  return JoinBytes({vqtbl1q_u8(low, codes.first), vqtbl1q_u8(low, codes.second)},
                   {vqtbl1q_u8(high, codes.first), vqtbl1q_u8(high, codes.second)});
}

// Nibbles are indices of a table of bf16.
template <class Table>
struct TableCode : EightColumns {
  static constexpr int kStepBytes = 256;
  struct Zero {};
  using Step = PairStep;
  static Zero LoadZero(const std::uint8_t*, int) { return {}; }
  static Step Load(const std::uint8_t* p, Zero) { return PairsOfNibbles(p, Table::LowBytes(), Table::HighBytes()); }
  template <int kK>
  static Vec Value(const Step& step, Zero) {
    return ColumnOf<kK>(step);
  }
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

// 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives
struct Fp4Table {
  static uint8x16_t LowBytes() {
    return uint8x16_t{0, 0, 0x80, 0xc0, 0, 0x40, 0x80, 0xc0, 0, 0, 0x80, 0xc0, 0, 0x40, 0x80, 0xc0};
  }
  static uint8x16_t HighBytes() {
    return uint8x16_t{0, 0x3f, 0x3f, 0x3f, 0x40, 0x40, 0x40, 0x40, 0x80, 0xbf, 0xbf, 0xbf, 0xc0, 0xc0, 0xc0, 0xc0};
  }
};
using Fp4Code = TableCode<Fp4Table>;

// 0 to 15
struct NibbleTable {
  static uint8x16_t LowBytes() {
    return uint8x16_t{0x00, 0x80, 0x00, 0x40, 0x80, 0xa0, 0xc0, 0xe0, 0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70};
  }
  static uint8x16_t HighBytes() {
    return uint8x16_t{0x00, 0x3f, 0x40, 0x40, 0x40, 0x40, 0x40, 0x40, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41};
  }
};
using NibbleCode = TableCode<NibbleTable>;

// -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113
struct Iq4Table {
  static uint8x16_t LowBytes() {
    return uint8x16_t{0xfe, 0xd0, 0xa6, 0x82, 0x44, 0x0c, 0xb0, 0x20, 0x80, 0x50, 0xc8, 0x18, 0x54, 0x8a, 0xb2, 0xe2};
  }
  static uint8x16_t HighBytes() {
    return uint8x16_t{0xc2, 0xc2, 0xc2, 0xc2, 0xc2, 0xc2, 0xc1, 0xc1, 0x3f, 0x41, 0x41, 0x42, 0x42, 0x42, 0x42, 0x42};
  }
};
using Iq4Code = TableCode<Iq4Table>;

// The zero point of each row, in all four bytes of its word.
inline uint8x16_t ZeroPointBytes(const std::uint8_t* header, int row) {
  std::uint32_t points = 0;
  __builtin_memcpy(&points, header + 128 + row, sizeof(points));
  const uint8x16_t rows = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
  return vqtbl1q_u8(vreinterpretq_u8_u32(vdupq_n_u32(points)), rows);
}
inline Vec ZeroPoints(const std::uint8_t* header, int row) {
  return vcvtq_f32_u32(vshrq_n_u32(vreinterpretq_u32_u8(ZeroPointBytes(header, row)), 24));
}

struct Int4Code : EightColumns {
  static constexpr int kStepBytes = 256;
  struct Zero {
    uint8x16_t distance;  // 16 - zero point, in each of the four bytes of a row's word
  };
  using Step = PairStep;
  static Zero LoadZero(const std::uint8_t* header, int row) {
    return {vsubq_u8(vdupq_n_u8(16), ZeroPointBytes(header, row))};
  }
  // Element i of the tables is bf16 of i - 16, so code + 16 - zero point finds code - zero point.
  static Step Load(const std::uint8_t* p, const Zero& zero) {
    const uint8x16x2_t low = {uint8x16_t{0x80, 0x70, 0x60, 0x50, 0x40, 0x30, 0x20, 0x10,  //
                                         0x00, 0xe0, 0xc0, 0xa0, 0x80, 0x40, 0x00, 0x80},
                              NibbleTable::LowBytes()};
    const uint8x16x2_t high = {uint8x16_t{0xc1, 0xc1, 0xc1, 0xc1, 0xc1, 0xc1, 0xc1, 0xc1,  //
                                          0xc1, 0xc0, 0xc0, 0xc0, 0xc0, 0xc0, 0xc0, 0xbf},
                               NibbleTable::HighBytes()};
    const ByteStep codes = SplitNibbles(p);
    const uint8x16_t first = vaddq_u8(codes.first, zero.distance);
    const uint8x16_t second = vaddq_u8(codes.second, zero.distance);
    return JoinBytes({vqtbl2q_u8(low, first), vqtbl2q_u8(low, second)},
                     {vqtbl2q_u8(high, first), vqtbl2q_u8(high, second)});
  }
  template <int kK>
  static Vec Value(const Step& step, const Zero&) {
    return ColumnOf<kK>(step);
  }
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

struct Int8Code : EightColumns {
  static constexpr int kStepBytes = 512;
  struct Zero {};
  using Step = ByteStep;
  static Zero LoadZero(const std::uint8_t*, int) { return {}; }
  static Step Load(const std::uint8_t* p, Zero) { return {vld1q_u8(p), vld1q_u8(p + 256)}; }
  // A look-up makes the byte the top one of a word, with zeros (index 255 is out of the table) below; the conversion
  // divides by 2^24.
  template <int kK>
  static Vec Value(const Step& step, Zero) {
    constexpr std::uint8_t kNone = 255;
    constexpr std::uint8_t k = kK % 4;
    const uint8x16_t top = {kNone, kNone, kNone, k,     kNone, kNone, kNone, k + 4,
                            kNone, kNone, kNone, k + 8, kNone, kNone, kNone, k + 12};
    return vcvtq_n_f32_s32(vreinterpretq_s32_u8(vqtbl1q_u8(kK < 4 ? step.first : step.second, top)), 24);
  }
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

// Formats of 16 bits are stored in pairs already.
struct PairCode : EightColumns {
  static constexpr int kStepBytes = 1024;
  struct Zero {};
  using Step = PairStep;
  static Zero LoadZero(const std::uint8_t*, int) { return {}; }
  static Step Load(const std::uint8_t* p, Zero) {
    const auto pair = [p](int i) { return vreinterpretq_u32_u8(vld1q_u8(p + 256 * i)); };
    return {pair(0), pair(1), pair(2), pair(3)};
  }
  static Vec Scale(const std::uint8_t*, int) { return Set(1.0f); }
};

struct Bf16Code : PairCode {
  template <int kK>
  static Vec Value(const Step& step, Zero) {
    return ColumnOf<kK>(step);
  }
};

struct Fp16Code : PairCode {
  template <int kK>
  static Vec Value(const Step& step, Zero) {
    const uint32x4_t word = step.pair[PairOf(kK)];
    return vcvt_f32_f16(vreinterpret_f16_u16(HalfOf(kK) == 0 ? vmovn_u32(word) : vshrn_n_u32(word, 16)));
  }
};

struct Fp32Code {
  static constexpr int kStep = 1;
  static constexpr int kStepBytes = 256;
  static constexpr int kVectorBytes = 16;
  struct Zero {};
  struct Step {
    Vec value;
  };
  static Zero LoadZero(const std::uint8_t*, int) { return {}; }
  static Step Load(const std::uint8_t* p, Zero) { return {vreinterpretq_f32_u8(vld1q_u8(p))}; }
  template <int kK>
  static Vec Value(const Step& step, Zero) {
    return step.value;
  }
  static Vec Scale(const std::uint8_t*, int) { return Set(1.0f); }
};

}  // namespace
}  // namespace marlin
