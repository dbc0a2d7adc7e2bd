#include "files/ggml_blocks.h"

#include <array>
#include <cmath>
#include <cstddef>

#include "base/check.h"
#include "base/half.h"
#include "formats/scale.h"

// Every product below is exact in fp32: a scale has 11 significant bits (fp16), and sub-scale and code together at most
// 12 (a lone power of two, such as -32 or -128, adds none). So at most one operation per weight rounds, the last one,
// and no compiler can change a bit by fusing multiplication and addition.

namespace marlin {
namespace {

constexpr std::size_t kSuper = 256;  // weights of a K block

float ReadHalf(const std::uint8_t* bytes) { return HalfToFloat(static_cast<std::uint16_t>(bytes[0] | bytes[1] << 8)); }

// scale fp16 | 16 bytes: byte j = weight j | weight j + 16 << 4            weight = scale * (code - 8)
void DecodeQ4_0(const std::uint8_t* block, float* out) {
  const float scale = ReadHalf(block);
  for (std::size_t j = 0; j < 16; ++j) {
    out[j] = scale * static_cast<float>((block[2 + j] & 15) - 8);
    out[j + 16] = scale * static_cast<float>((block[2 + j] >> 4) - 8);
  }
}

// scale fp16 | minimum fp16 | 16 bytes as in Q4_0                          weight = scale * code + minimum
void DecodeQ4_1(const std::uint8_t* block, float* out) {
  const float scale = ReadHalf(block);
  const float minimum = ReadHalf(block + 2);
  for (std::size_t j = 0; j < 16; ++j) {
    out[j] = scale * static_cast<float>(block[4 + j] & 15) + minimum;
    out[j + 16] = scale * static_cast<float>(block[4 + j] >> 4) + minimum;
  }
}

// The codes of Q5_0 and Q5_1: 4 bytes with the fifth bit of weight j at bit j, then 16 bytes as in Q4_0.
int FiveBits(const std::uint8_t* codes, std::size_t j) {
  const int high = codes[j / 8] >> (j % 8) & 1;
  const int low = codes[4 + j % 16] >> (j / 16 * 4) & 15;
  return high << 4 | low;
}

// scale fp16 | codes                                                       weight = scale * (code - 16)
void DecodeQ5_0(const std::uint8_t* block, float* out) {
  const float scale = ReadHalf(block);
  for (std::size_t j = 0; j < 32; ++j) out[j] = scale * static_cast<float>(FiveBits(block + 2, j) - 16);
}

// scale fp16 | minimum fp16 | codes                                        weight = scale * code + minimum
void DecodeQ5_1(const std::uint8_t* block, float* out) {
  const float scale = ReadHalf(block);
  const float minimum = ReadHalf(block + 2);
  for (std::size_t j = 0; j < 32; ++j) out[j] = scale * static_cast<float>(FiveBits(block + 4, j)) + minimum;
}

// scale fp16 | 32 signed bytes                                             weight = scale * code
void DecodeQ8_0(const std::uint8_t* block, float* out) {
  const float scale = ReadHalf(block);
  for (std::size_t j = 0; j < 32; ++j) out[j] = scale * static_cast<float>(static_cast<std::int8_t>(block[2 + j]));
}

// 16 bytes: sub-scale | sub-minimum << 4 | 64 bytes of codes | scale fp16 | minimum scale fp16
// Each half of 128 weights is four runs of 32: weight j of run r is at bits 2r of byte j of the half's 32.
//                                        weight = scale * sub_scale * code - minimum_scale * sub_minimum
void DecodeQ2K(const std::uint8_t* block, float* out) {
  const float scale = ReadHalf(block + 80);
  const float minimum = ReadHalf(block + 82);
  for (std::size_t k = 0; k < kSuper; ++k) {
    const int code = block[16 + k / 128 * 32 + k % 32] >> (k % 128 / 32 * 2) & 3;
    const float step = scale * static_cast<float>(block[k / 16] & 15);
    const float offset = minimum * static_cast<float>(block[k / 16] >> 4);
    out[k] = step * static_cast<float>(code) - offset;
  }
}

// 32 bytes: bit r of byte j = third bit of weight j of run r (8 runs of 32) | 64 bytes of low pairs as in Q2_K |
// 12 bytes with sixteen 6-bit sub-scales | scale fp16
//   bytes 0..7   [low bits of sub-scale 8..15 : 4][low bits of sub-scale 0..7 : 4]
//   bytes 8..11  at bits 2q of byte i: the high pair of sub-scale 4q + i
//                                                           weight = scale * (sub_scale - 32) * (code - 4)
void DecodeQ3K(const std::uint8_t* block, float* out) {
  const std::uint8_t* packed = block + 96;
  const float scale = ReadHalf(block + 108);
  for (std::size_t k = 0; k < kSuper; ++k) {
    const std::size_t sub = k / 16;
    const int sub_scale = (packed[sub % 8] >> (sub / 8 * 4) & 15) | (packed[8 + sub % 4] >> (sub / 4 * 2) & 3) << 4;
    const int low = block[32 + k / 128 * 32 + k % 32] >> (k % 128 / 32 * 2) & 3;
    const int high = block[k % 32] >> (k / 32) & 1;
    const float step = scale * static_cast<float>(sub_scale - 32);
    out[k] = step * static_cast<float>((low | high << 2) - 4);
  }
}

// The 12 bytes that hold a 6-bit sub-scale and a 6-bit sub-minimum for each of the 8 sub-blocks of Q4_K and Q5_K:
//   bytes 0..3   [high bits of scale 4..7 : 2][scale 0..3 : 6]
//   bytes 4..7   [high bits of minimum 4..7 : 2][minimum 0..3 : 6]
//   bytes 8..11  [low bits of minimum 4..7 : 4][low bits of scale 4..7 : 4]
struct SubScale {
  float scale;
  float minimum;
};

SubScale ReadSubScale(const std::uint8_t* packed, std::size_t sub) {
  if (sub < 4) return {static_cast<float>(packed[sub] & 63), static_cast<float>(packed[sub + 4] & 63)};
  const int scale = (packed[sub + 4] & 15) | (packed[sub - 4] >> 6) << 4;
  const int minimum = (packed[sub + 4] >> 4) | (packed[sub] >> 6) << 4;
  return {static_cast<float>(scale), static_cast<float>(minimum)};
}

// scale fp16 | minimum scale fp16 | 12 bytes of sub-scales | [Q5_K: 32 bytes, bit s of byte j = fifth bit of weight j
// of sub-block s] | 128 bytes: byte 32p + j = weight j of sub-block 2p | weight j of sub-block 2p + 1 << 4
//                                        weight = scale * sub_scale * code - minimum_scale * sub_minimum
template <bool kFifthBit>
void DecodeQ45K(const std::uint8_t* block, float* out) {
  const float scale = ReadHalf(block);
  const float minimum = ReadHalf(block + 2);
  const std::uint8_t* high = block + 16;
  const std::uint8_t* low = kFifthBit ? block + 48 : block + 16;
  for (std::size_t sub = 0; sub < 8; ++sub) {
    const SubScale s = ReadSubScale(block + 4, sub);
    const float step = scale * s.scale;
    const float offset = minimum * s.minimum;
    for (std::size_t j = 0; j < 32; ++j) {
      int code = low[sub / 2 * 32 + j] >> (sub % 2 * 4) & 15;
      if (kFifthBit) code |= (high[j] >> sub & 1) << 4;
      out[sub * 32 + j] = step * static_cast<float>(code) - offset;
    }
  }
}

// 128 bytes of low nibbles | 64 bytes of high bit pairs | 16 signed sub-scales | scale fp16
// Each half of 128 weights is four runs of 32: runs 0, 1 in the low and 2, 3 in the high nibbles of 64 bytes; the high
// pair of weight j of run r is at bits 2r of byte j of 32.                weight = scale * sub_scale * (code - 32)
void DecodeQ6K(const std::uint8_t* block, float* out) {
  const std::uint8_t* scales = block + 192;
  const float scale = ReadHalf(block + 208);
  for (std::size_t k = 0; k < kSuper; ++k) {
    const std::size_t half = k / 128;
    const std::size_t run = k % 128 / 32;
    const std::size_t j = k % 32;
    const int low = block[half * 64 + run % 2 * 32 + j] >> (run / 2 * 4) & 15;
    const int high = block[128 + half * 32 + j] >> (run * 2) & 3;
    const float step = scale * static_cast<float>(static_cast<std::int8_t>(scales[k / 16]));
    out[k] = step * static_cast<float>((low | high << 4) - 32);
  }
}

// The values of the codes of IQ4_NL and IQ4_XS: denser near zero, where most weights are.
constexpr std::array<float, 16> kNonLinear = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// scale fp16 | 16 bytes as in Q4_0                                         weight = scale * value(code)
void DecodeIQ4NL(const std::uint8_t* block, float* out) {
  const float scale = ReadHalf(block);
  for (std::size_t j = 0; j < 16; ++j) {
    out[j] = scale * kNonLinear[block[2 + j] & 15];
    out[j + 16] = scale * kNonLinear[block[2 + j] >> 4];
  }
}

// scale fp16 | 2 bytes: high pair of sub-scale s at bits 2s | 4 bytes: low nibbles of sub-scales 2i, 2i + 1 in byte i |
// 8 runs of 16 bytes as in Q4_0                           weight = scale * (sub_scale - 32) * value(code)
void DecodeIQ4XS(const std::uint8_t* block, float* out) {
  const float scale = ReadHalf(block);
  const int high = block[2] | block[3] << 8;
  for (std::size_t sub = 0; sub < 8; ++sub) {
    const int sub_scale = (block[4 + sub / 2] >> (sub % 2 * 4) & 15) | (high >> (2 * sub) & 3) << 4;
    const float step = scale * static_cast<float>(sub_scale - 32);
    const std::uint8_t* codes = block + 8 + 16 * sub;
    for (std::size_t j = 0; j < 16; ++j) {
      out[32 * sub + j] = step * kNonLinear[codes[j] & 15];
      out[32 * sub + j + 16] = step * kNonLinear[codes[j] >> 4];
    }
  }
}

// Twice the values of FP4 E2M1, as integers; the scale is halved for it. Code 8 is a plain zero.
constexpr std::array<float, 16> kTwiceE2M1 = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// exponent (E8M0) | 16 bytes as in Q4_0                                    weight = 2^(exponent - 128) * twice(code)
void DecodeMXFP4(const std::uint8_t* block, float* out) {
  const float scale = std::ldexp(1.0f, block[0] - 128);
  for (std::size_t j = 0; j < 16; ++j) {
    out[j] = scale * kTwiceE2M1[block[1 + j] & 15];
    out[j + 16] = scale * kTwiceE2M1[block[1 + j] >> 4];
  }
}

// Four scales (E4M3 without its sign; 0x7f counts as 0) | four runs of 8 bytes: byte j of a run = weight j | weight j +
// 8
// << 4                                                     weight = scale / 2 * twice(code)
void DecodeNVFP4(const std::uint8_t* block, float* out) {
  for (std::size_t run = 0; run < 4; ++run) {
    const float scale = block[run] == 0x7f ? 0.0f : E4m3ToFloat(block[run] & 0x7f) / 2;
    const std::uint8_t* codes = block + 4 + 8 * run;
    for (std::size_t j = 0; j < 8; ++j) {
      out[16 * run + j] = scale * kTwiceE2M1[codes[j] & 15];
      out[16 * run + j + 8] = scale * kTwiceE2M1[codes[j] >> 4];
    }
  }
}

using BlockDecoder = void (*)(const std::uint8_t* block, float* out);

BlockDecoder FindDecoder(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return DecodeQ4_0;
    case DType::kQ4_1:
      return DecodeQ4_1;
    case DType::kQ5_0:
      return DecodeQ5_0;
    case DType::kQ5_1:
      return DecodeQ5_1;
    case DType::kQ8_0:
      return DecodeQ8_0;
    case DType::kQ2_K:
      return DecodeQ2K;
    case DType::kQ3_K:
      return DecodeQ3K;
    case DType::kQ4_K:
      return DecodeQ45K<false>;
    case DType::kQ5_K:
      return DecodeQ45K<true>;
    case DType::kQ6_K:
      return DecodeQ6K;
    case DType::kIQ4_NL:
      return DecodeIQ4NL;
    case DType::kIQ4_XS:
      return DecodeIQ4XS;
    case DType::kMXFP4:
      return DecodeMXFP4;
    case DType::kNVFP4:
      return DecodeNVFP4;
    default:
      return nullptr;
  }
}

}  // namespace

bool IsBlockType(DType dtype) { return FindDecoder(dtype) != nullptr; }

void DecodeBlocks(DType dtype, std::span<const std::uint8_t> bytes, std::span<float> out) {
  const BlockDecoder decode = FindDecoder(dtype);
  const DTypeInfo& info = Info(dtype);
  MARLIN_CHECK(decode != nullptr, "not a block type");
  MARLIN_CHECK(out.size() % info.block_elements == 0, "whole blocks");
  MARLIN_CHECK(bytes.size() == out.size() / info.block_elements * info.block_bytes, "bytes of the blocks");
  for (std::size_t b = 0; b * info.block_elements < out.size(); ++b) {
    decode(bytes.data() + b * info.block_bytes, out.data() + b * info.block_elements);
  }
}

}  // namespace marlin
