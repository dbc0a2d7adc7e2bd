// Codes as few_layout.h stores them to exact fp16 numbers: for the kernels, and for the host, which checks them.
//
// A word holds pairs of codes, one in each half, that become pairs of fp16 numbers: those of the format divided by
// PowerOfNumbers. BitPlaceOf says where the bits of a code lie.
//
// - FP4: the three magnitude bits lie where fp16's exponent and mantissa meet, so that 0.5 x 2^-14 comes out right as a
//   subnormal.
// - Integers: fp16 numbers below 2^-13 are their bits x 2^-24. So the bits of a code are moved below bit 11 of a half.
//   The zero is subtracted where it is not 0.
// - With zero points of groups: codes become the lowest bits of the mantissa of 1024, or lie four bits higher in that
//   of 64, and the zero point so is subtracted.
// - The table of IQ4_NL: sizes of negative and of positive numbers are looked up as bytes, the one that is not meant
//   being 0. Bytes then are as integers of 8 bits.
#pragma once

#include <array>
#include <cstring>

#include "base/half.h"
#include "formats/iq4_nl.h"
#include "formats/scale.h"
#include "kernels/cuda/few_layout.h"

#if defined(__CUDACC__)
#include <cuda_fp16.h>

#include "kernels/cuda/ptx.cuh"
#define MARLIN_BOTH __host__ __device__
#define MARLIN_UNROLL _Pragma("unroll")
#else
#define MARLIN_BOTH
#define MARLIN_UNROLL
#endif

namespace marlin::cuda {

// Whether the kernel multiplies codes by the scale, as their product is exact in fp16, and not sums.
constexpr bool ScalesCodes(const FewFormat& format) { return format.scale == FewScale::kE4m3; }

// Integers, whose bits become numbers as they are.
constexpr bool AreBits(FewCoding coding) { return coding != FewCoding::kFp4 && coding != FewCoding::kInt4Zeros; }
// The bit of a half that the lowest bit of such a code is moved to. Bytes stay at 0.
constexpr int PlaceOfBits(FewCoding coding) {
  if (coding == FewCoding::kIq4 || coding == FewCoding::kInt8) return 0;
  return coding == FewCoding::kInt6 ? 5 : 6;
}

constexpr float PowerOfNumbers(FewCoding coding) {
  if (coding == FewCoding::kInt4Zeros) return 1;
  if (coding == FewCoding::kFp4) return 0x1p14f;
  return 0x1p24f / static_cast<float>(1 << PlaceOfBits(coding));
}
// Sums of tokens are divided by the power of integers with biases, so that biases need no factor of their own.
inline constexpr float kPowerOfBiased = PowerOfNumbers(FewCoding::kInt4);
static_assert(kPowerOfBiased == PowerOfNumbers(FewCoding::kInt5));

// fp16 numbers, twice in a word.
constexpr std::uint32_t TwoHalves(float value) { return FloatToHalf(value) * 0x10001u; }
// To whose mantissas a code is added: at the lowest bits, or four bits higher.
inline constexpr std::uint32_t kLowerInteger = TwoHalves(1024), kUpperInteger = TwoHalves(64);

// (a & mask) | bits
MARLIN_BOTH inline std::uint32_t MaskAndOr(std::uint32_t a, std::uint32_t mask, std::uint32_t bits) {
#ifdef __CUDA_ARCH__
  return AndOr(a, mask, bits);
#else
  return (a & mask) | bits;
#endif
}

// Byte i of the result is byte (nibble i of `which`) mod 8 of b:a, or, where the nibble is 8 or more, eight times the
// highest bit of that byte.
MARLIN_BOTH inline std::uint32_t PickBytes(std::uint32_t a, std::uint32_t b, std::uint32_t which) {
#ifdef __CUDA_ARCH__
  return Permute(a, b, which);
#else
  std::uint32_t out = 0;
  for (int i = 0; i < 4; ++i) {
    const std::uint32_t nibble = which >> (4 * i) & 15, place = nibble % 8;
    const std::uint32_t byte = (place < 4 ? a : b) >> (place % 4 * 8) & 0xff;
    out |= (nibble < 8 ? byte : byte >> 7 != 0 ? 0xffu : 0u) << (8 * i);
  }
  return out;
#endif
}

#ifndef __CUDA_ARCH__
// op(a, b) of both fp16 numbers of two words.
template <class Op>
inline std::uint32_t OfBothHalves(std::uint32_t a, std::uint32_t b, Op op) {
  std::uint32_t out = 0;
  for (int shift = 0; shift < 32; shift += 16) {
    const auto half = [&](std::uint32_t word) { return HalfToFloat(static_cast<std::uint16_t>(word >> shift)); };
    out |= static_cast<std::uint32_t>(FloatToHalf(op(half(a), half(b)))) << shift;
  }
  return out;
}
#endif

// Both fp16 numbers: a - b. The results that are met here are exact.
MARLIN_BOTH inline std::uint32_t Minus(std::uint32_t a, std::uint32_t b) {
#ifdef __CUDA_ARCH__
  return SubtractHalves(a, b);
#else
  return OfBothHalves(a, b, [](float x, float y) { return x - y; });
#endif
}

MARLIN_BOTH inline std::uint32_t RotateRight(std::uint32_t word, int bits) {
#ifdef __CUDA_ARCH__
  return __funnelshift_r(word, word, bits);
#else
  return bits == 0 ? word : word >> bits | word << (32 - bits);
#endif
}

// Sizes of the numbers of codes first to first + 3 in the table of IQ4_NL.
constexpr std::uint32_t Iq4Sizes(std::size_t first) {
  std::uint32_t out = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    const float value = kIq4Values[first + i];
    out |= static_cast<std::uint32_t>(value < 0 ? -value : value) << (8 * i);
  }
  return out;
}
// The first of two words of each table.
struct Iq4Tables {
  std::uint32_t negative = Iq4Sizes(0), positive = Iq4Sizes(8);
#if defined(__CUDACC__)
  // An instruction takes one constant, and the compiler would move the other each time.
  static __device__ Iq4Tables InRegisters() {
    const Iq4Tables tables;
    return {OfEachLane(tables.negative), OfEachLane(tables.positive)};
  }
#endif
};
// The numbers of four codes, the lowest nibbles of a word, plus 128. The first eight of the table are negative.
MARLIN_BOTH inline std::uint32_t Iq4Bytes(std::uint32_t codes, const Iq4Tables& tables) {
  constexpr std::uint32_t kNegative = Iq4Sizes(4), kPositive = Iq4Sizes(12);
  const std::uint32_t negative = PickBytes(tables.negative, kNegative, codes);
  const std::uint32_t positive = PickBytes(tables.positive, kPositive, codes ^ 0x8888u);
  return positive + 0x80808080u - negative;
}

// FP4, of words that the packer makes by the inverse of this linear map of bits.
MARLIN_BOTH inline void DecodeFp4(std::uint32_t word, std::uint32_t (&a)[4]) {
  constexpr std::uint32_t kMask = 0x8e008e00u;
  a[0] = (word ^ (word >> 3)) & kMask;
  a[1] = (word ^ (word << 2)) & kMask;
  a[2] = (word ^ (word << 6)) & kMask;
  a[3] = (word << 9) & kMask;
}

// Code i of four bits lies at bit 4 (i / 2) + 16 (i mod 2): in a[0] and a[2] plus 1024, in a[1] and a[3] plus 64.
MARLIN_BOTH inline void NibblesToMantissas(std::uint32_t word, std::uint32_t (&a)[4]) {
  const std::uint32_t upper = word >> 8;
  a[0] = MaskAndOr(word, 0x000f000fu, kLowerInteger);
  a[1] = MaskAndOr(word, 0x00f000f0u, kUpperInteger);
  a[2] = MaskAndOr(upper, 0x000f000fu, kLowerInteger);
  a[3] = MaskAndOr(upper, 0x00f000f0u, kUpperInteger);
}
// Pair i of the 16 pairs of a lane and 64 columns, at PlaceOfBits.
template <FewCoding kCoding>
MARLIN_BOTH inline std::uint32_t PairOfBits(const std::uint32_t (&words)[BitsOf(kCoding)], int i,
                                            const Iq4Tables& tables) {
  if constexpr (kCoding == FewCoding::kInt8) {
    return PickBytes(words[i / 2], 0, i % 2 == 0 ? 0x4140 : 0x4342);
  } else if constexpr (kCoding == FewCoding::kIq4) {
    const std::uint32_t bytes = Iq4Bytes(i % 4 < 2 ? words[i / 4] : words[i / 4] >> 16, tables);
    return PickBytes(bytes, 0, i % 2 == 0 ? 0x4140 : 0x4342);
  } else if constexpr (kCoding == FewCoding::kInt4) {
    const std::uint32_t word = words[i / 4];
    const std::uint32_t moved = i % 4 == 0   ? word
                                : i % 4 == 1 ? word >> 4
                                : i % 4 == 2 ? word << 4
                                             : RotateRight(word, 8);
    return moved & 0x03c003c0u;
  } else if constexpr (kCoding == FewCoding::kInt5) {
    if (i < 15) {
      const std::uint32_t word = words[i / 3];
      return (i % 3 == 0 ? word : i % 3 == 1 ? word >> 5 : word << 5) & 0x07c007c0u;
    }
    std::uint32_t out = 0;  // of the last pair each word holds a bit
    MARLIN_UNROLL
    for (int bit = 0; bit < 5; ++bit) out = MaskAndOr(words[bit] << (6 + bit), 0x00400040u << bit, out);
    return out;
  } else {
    if (i < 12) return (i % 2 == 0 ? words[i / 2] : RotateRight(words[i / 2], 6)) & 0x07e007e0u;
    const std::uint32_t low = words[4 + (i - 12) / 2];  // of the last four pairs each word holds four bits
    return MaskAndOr(i % 2 == 0 ? low << 4 : low << 2, 0x00600060u, (words[i - 12] << 6) & 0x07800780u);
  }
}

struct BitPlace {
  int word = 0, bit = 0;
};
// Where bit `bit` of code `code` of the 8 of a lane and 16 columns lies; not for FP4.
constexpr BitPlace BitPlaceOf(FewCoding coding, int step, int code, int bit) {
  const int n = code / 2, pair = step * 4 + n, half = code % 2 * 16;
  switch (coding) {
    case FewCoding::kIq4:
      return {step, 4 * code + bit};
    case FewCoding::kInt8:
      return {step * 2 + code / 4, code % 4 * 8 + bit};
    case FewCoding::kInt5:
      if (pair == 15) return {bit, half};
      return {pair / 3, half + (pair % 3 == 0 ? 6 : pair % 3 == 1 ? 11 : 1) + bit};
    case FewCoding::kInt6:
      if (pair < 12) return {pair / 2, (half + (pair % 2 == 0 ? 5 : 11) + bit) % 32};
      if (bit >= 2) return {pair - 12, half + bit - 1};
      return {4 + (pair - 12) / 2, half + (pair % 2 == 0 ? 1 : 3) + bit};
    default:
      if (coding == FewCoding::kInt4Zeros) return {step, half + 4 * n + bit};
      return {step, (half + (n == 0 ? 6 : n == 1 ? 10 : n == 2 ? 2 : 14) + bit) % 32};
  }
}

// The codes of a lane and 16 columns as the operand A of an mma. words: those of 64 columns. kZero: ZeroOf; or 0 where
// AreBits and the caller subtracts it elsewhere.
template <FewCoding kCoding, int kZero>
MARLIN_BOTH inline void DecodeStep(const std::uint32_t (&words)[BitsOf(kCoding)], int step, std::uint32_t (&a)[4],
                                   const Iq4Tables& tables = Iq4Tables()) {
  if constexpr (kCoding == FewCoding::kFp4) {
    DecodeFp4(words[step], a);
  } else if constexpr (kCoding == FewCoding::kInt4Zeros) {
    NibblesToMantissas(words[step], a);
  } else {
    constexpr std::uint32_t kZeros = TwoHalves(kZero / PowerOfNumbers(kCoding));
    MARLIN_UNROLL
    for (int n = 0; n < 4; ++n) {
      a[n] = PairOfBits<kCoding>(words, step * 4 + n, tables);
      if constexpr (kZero != 0) a[n] = Minus(a[n], kZeros);
    }
  }
}

// kInt4Zeros: code - zero point, exactly. zeros: of row g in the low half, of row g + 8 in the other.
MARLIN_BOTH inline void SubtractZeros(std::uint32_t (&a)[4], std::uint32_t zeros) {
  const std::uint32_t lower = (zeros & 0x0f) * 0x10001u | kLowerInteger;
  const std::uint32_t upper = (zeros & 0xf0) * 0x10001u | kUpperInteger;
  a[0] = Minus(a[0], lower);
  a[1] = Minus(a[1], upper);
  a[2] = Minus(a[2], lower);
  a[3] = Minus(a[3], upper);
}

// Calls with.template operator()<coding, ZeroOf>().
template <class With>
void WithCoding(const FewFormat& format, With with) {
  using enum FewCoding;
  switch (format.coding) {
    case kFp4:
      return with.template operator()<kFp4, ZeroOf(kFp4, false)>();
    case kIq4:
      return with.template operator()<kIq4, ZeroOf(kIq4, false)>();
    case kInt4Zeros:
      return with.template operator()<kInt4Zeros, ZeroOf(kInt4Zeros, false)>();
    case kInt4:
      return format.biased ? with.template operator()<kInt4, ZeroOf(kInt4, true)>()
                           : with.template operator()<kInt4, ZeroOf(kInt4, false)>();
    case kInt5:
      return format.biased ? with.template operator()<kInt5, ZeroOf(kInt5, true)>()
                           : with.template operator()<kInt5, ZeroOf(kInt5, false)>();
    case kInt6:
      return with.template operator()<kInt6, ZeroOf(kInt6, false)>();
    case kInt8:
      return with.template operator()<kInt8, ZeroOf(kInt8, false)>();
  }
}

// Reading single numbers, where speed does not matter much.
MARLIN_BOTH inline std::uint32_t WordAt(const std::uint8_t* from) {
#ifdef __CUDA_ARCH__
  return *reinterpret_cast<const std::uint32_t*>(from);
#else
  std::uint32_t word = 0;
  std::memcpy(&word, from, sizeof(word));
  return word;
#endif
}
MARLIN_BOTH inline float FloatOfHalf(std::uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
#else
  return HalfToFloat(static_cast<std::uint16_t>(bits));
#endif
}
MARLIN_BOTH inline float HalfAt(const std::uint8_t* from) {
#ifdef __CUDA_ARCH__
  return FloatOfHalf(*reinterpret_cast<const std::uint16_t*>(from));
#else
  return FloatOfHalf(static_cast<std::uint32_t>(from[0] | from[1] << 8));
#endif
}

// The scale or the bias number i of an array of them. unit: of kUnits and kE4m3.
MARLIN_BOTH inline float NumberAt(FewScale scale, const std::uint8_t* from, int i, float unit) {
  if (scale == FewScale::kHalf) return HalfAt(from + 2 * i);
  if (scale == FewScale::kE8m0) return E8m0ToFloat(from[i]);
  if (scale == FewScale::kE4m3) return E4m3ToFloat(from[i]) * unit;
  return static_cast<float>(static_cast<std::int8_t>(from[i])) * unit;
}

// Where 8 codes lie: 16 columns of 64 of a record, of a lane.
struct EightCodes {
  int part = 0, step = 0, lane = 0;
  MARLIN_BOTH int Row(int code) const { return lane / 4 + code / 2 % 2 * 8; }
  MARLIN_BOTH int Col(int code) const { return part * 64 + step * 16 + code / 4 * 8 + lane % 4 * 2 + code % 2; }
};

// The words of a lane and 64 columns of a record.
template <FewCoding kCoding>
MARLIN_BOTH inline void ReadWords(const std::uint8_t* record, int part, int lane,
                                  std::uint32_t (&words)[BitsOf(kCoding)]) {
  MARLIN_UNROLL
  for (int i = 0; i < BitsOf(kCoding); ++i) words[i] = WordAt(record + PlaceOfWord(kCoding, part, lane, i));
}

// The weights of 8 of their codes, as DecodeRow computes them.
template <FewCoding kCoding, int kZero>
MARLIN_BOTH inline void DecodeEight(const FewWeight& weight, const std::uint8_t* record,
                                    const std::uint32_t (&words)[BitsOf(kCoding)], const EightCodes& codes,
                                    float (&out)[8]) {
  const FewFormat& format = weight.format;
  const FewRecord at = RecordOf(format);
  const int g = codes.lane / 4;
  std::uint32_t a[4];
  DecodeStep<kCoding, kZero>(words, codes.step, a);
  const int groups = GroupsOfRecord(format.group), group = (codes.part * 64 + codes.step * 16) / format.group;
  if constexpr (kCoding == FewCoding::kInt4Zeros) SubtractZeros(a, record[at.zeros + group * 8 + g]);
  float scales[2], biases[2] = {};
  MARLIN_UNROLL
  for (int upper = 0; upper < 2; ++upper) {
    const int unit_of_row = at.units + (g * 2 + upper) * 2;
    const bool units = format.scale == FewScale::kUnits;
    scales[upper] = NumberAt(format.scale, record + at.scales, (g * groups + group) * 2 + upper,
                             units ? HalfAt(record + unit_of_row) : weight.unit);
    if (!format.biased) continue;
    biases[upper] = NumberAt(format.scale, record + at.biases, (g + upper * 8) * groups + group,
                             units ? HalfAt(record + unit_of_row + 32) : weight.unit);
  }
  MARLIN_UNROLL
  for (int code = 0; code < 8; ++code) {
    const int upper = code / 2 % 2;
    const float number = FloatOfHalf(a[code / 2] >> (code % 2 * 16) & 0xffff) * PowerOfNumbers(kCoding);
    const float product = number * scales[upper];
    out[code] = format.biased ? product + biases[upper] : product;
  }
}

}  // namespace marlin::cuda
