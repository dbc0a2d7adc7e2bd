#include "files/ggml_blocks.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "base/half.h"
#include "base/rng.h"
#include "base/sha256.h"

namespace marlin {
namespace {

constexpr std::array kBlockTypes = {DType::kQ4_0,   DType::kQ4_1,   DType::kQ5_0,  DType::kQ5_1, DType::kQ8_0,
                                    DType::kQ2_K,   DType::kQ3_K,   DType::kQ4_K,  DType::kQ5_K, DType::kQ6_K,
                                    DType::kIQ4_NL, DType::kIQ4_XS, DType::kMXFP4, DType::kNVFP4};

std::vector<float> Decode(DType dtype, std::span<const std::uint8_t> bytes) {
  std::vector<float> out(bytes.size() / Info(dtype).block_bytes * Info(dtype).block_elements,
                         std::numeric_limits<float>::quiet_NaN());
  DecodeBlocks(dtype, bytes, out);
  return out;
}

// A block as one long number: bit i of the block, and fields of bits, counted from the first byte's lowest bit.
struct Bits {
  std::span<const std::uint8_t> bytes;
  unsigned At(std::size_t bit) const { return bytes[bit / 8] >> (bit % 8) & 1u; }
  unsigned Field(std::size_t bit, std::size_t width) const {
    unsigned value = 0;
    for (std::size_t i = 0; i < width; ++i) value |= At(bit + i) << i;
    return value;
  }
  double Half(std::size_t byte) const { return HalfToFloat(static_cast<std::uint16_t>(Field(8 * byte, 16))); }
};

// The definitions, weight by weight, in double: scale, code and offset of weight k.
struct Term {
  double scale, code, offset;
};

// The value of a 4-bit code of IQ4_NL and IQ4_XS.
constexpr std::array<double, 16> kLevels = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// Sign, two bits of exponent, one of mantissa.
double E2M1(unsigned code) {
  const unsigned exponent = code >> 1 & 3, mantissa = code & 1;
  const double size = exponent == 0 ? 0.5 * mantissa : std::ldexp(1 + 0.5 * mantissa, static_cast<int>(exponent) - 1);
  return (code & 8) != 0 ? -size : size;
}

Term Define32(DType dtype, const Bits& bits, std::size_t k) {
  const std::size_t nibble = k % 16 * 8 + k / 16 * 4;  // bit position of the low part among the codes
  switch (dtype) {
    case DType::kQ4_0:
      return {bits.Half(0), bits.Field(16 + nibble, 4) - 8.0, 0};
    case DType::kQ4_1:
      return {bits.Half(0), bits.Field(32 + nibble, 4) + 0.0, bits.Half(2)};
    case DType::kQ5_0:
      return {bits.Half(0), bits.Field(48 + nibble, 4) + 16.0 * bits.At(16 + k) - 16, 0};
    case DType::kQ5_1:
      return {bits.Half(0), bits.Field(64 + nibble, 4) + 16.0 * bits.At(32 + k), bits.Half(2)};
    case DType::kIQ4_NL:
      return {bits.Half(0), kLevels[bits.Field(16 + nibble, 4)], 0};
    case DType::kMXFP4:
      return {std::ldexp(1.0, static_cast<int>(bits.Field(0, 8)) - 127), E2M1(bits.Field(8 + nibble, 4)), 0};
    default:
      return {bits.Half(0), bits.Field(16 + 8 * k, 7) - 128.0 * bits.At(16 + 8 * k + 7), 0};
  }
}

Term DefineQ2K(const Bits& bits, std::size_t k) {
  const std::size_t code = 8 * (16 + k / 128 * 32 + k % 32) + k % 128 / 32 * 2;
  const std::size_t sub = 8 * (k / 16);
  return {bits.Half(80) * bits.Field(sub, 4), bits.Field(code, 2) + 0.0, -(bits.Half(82) * bits.Field(sub + 4, 4))};
}

Term DefineQ3K(const Bits& bits, std::size_t k) {
  const std::size_t low = 8 * (32 + k / 128 * 32 + k % 32) + k % 128 / 32 * 2;
  const std::size_t high = 8 * (k % 32) + k / 32;
  const std::size_t sub = k / 16;
  const unsigned scale =
      bits.Field(8 * (96 + sub % 8) + sub / 8 * 4, 4) | bits.Field(8 * (104 + sub % 4) + sub / 4 * 2, 2) << 4;
  return {bits.Half(108) * (scale - 32.0), bits.Field(low, 2) + 4.0 * bits.At(high) - 4, 0};
}

Term DefineQ6K(const Bits& bits, std::size_t k) {
  const std::size_t half = k / 128, in_half = k % 128;
  const std::size_t low = 8 * (64 * half + in_half % 64) + in_half / 64 * 4;
  const std::size_t high = 8 * (128 + 32 * half + in_half % 32) + in_half / 32 * 2;
  const std::size_t sub = 8 * (192 + k / 16);
  const double scale = bits.Field(sub, 7) - 128.0 * bits.At(sub + 7);
  return {bits.Half(208) * scale, bits.Field(low, 4) + 16.0 * bits.Field(high, 2) - 32, 0};
}

Term DefineIQ4XS(const Bits& bits, std::size_t k) {
  const std::size_t s = k / 32;
  const unsigned scale = bits.Field(8 * 4 + 4 * s, 4) | bits.Field(8 * 2 + 2 * s, 2) << 4;
  const std::size_t nibble = 8 * (8 + 16 * s + k % 16) + k % 32 / 16 * 4;
  return {bits.Half(0) * (scale - 32.0), kLevels[bits.Field(nibble, 4)], 0};
}

Term DefineQ45K(DType dtype, const Bits& bits, std::size_t k) {
  const std::size_t s = k / 32, scales = 8 * 4;
  unsigned scale = bits.Field(scales + 8 * s, 6);
  unsigned minimum = bits.Field(scales + 8 * (s + 4), 6);
  if (s >= 4) {
    scale = bits.Field(scales + 8 * (s + 4), 4) | bits.Field(scales + 8 * (s - 4) + 6, 2) << 4;
    minimum = bits.Field(scales + 8 * (s + 4) + 4, 4) | bits.Field(scales + 8 * s + 6, 2) << 4;
  }
  const bool five = dtype == DType::kQ5_K;
  double code = bits.Field(8 * ((five ? 48 : 16) + s / 2 * 32 + k % 32) + s % 2 * 4, 4);
  if (five) code += 16.0 * bits.At(8 * (16 + k % 32) + s);
  return {bits.Half(0) * scale, code, -(bits.Half(2) * minimum)};
}

Term DefineNVFP4(const Bits& bits, std::size_t k) {
  const std::size_t run = k / 16;
  const unsigned mantissa = bits.Field(8 * run, 3), exponent = bits.Field(8 * run + 3, 4);
  double scale = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8.0 + mantissa, static_cast<int>(exponent) - 10);
  if (bits.Field(8 * run, 8) == 0x7f) scale = 0;
  return {scale, E2M1(bits.Field(8 * (4 + 8 * run + k % 8) + k % 16 / 8 * 4, 4)), 0};
}

Term DefineLonger(DType dtype, const Bits& bits, std::size_t k) {
  switch (dtype) {
    case DType::kNVFP4:
      return DefineNVFP4(bits, k);
    case DType::kQ2_K:
      return DefineQ2K(bits, k);
    case DType::kQ3_K:
      return DefineQ3K(bits, k);
    case DType::kQ6_K:
      return DefineQ6K(bits, k);
    case DType::kIQ4_XS:
      return DefineIQ4XS(bits, k);
    default:
      return DefineQ45K(dtype, bits, k);
  }
}

// The nearest float; beyond the largest, which only MXFP4 reaches, infinity.
float ToFloat(double value) {
  constexpr double kMost = std::numeric_limits<float>::max();
  if (std::abs(value) <= kMost || std::isnan(value)) return static_cast<float>(value);
  return std::copysign(std::numeric_limits<float>::infinity(), static_cast<float>(value > 0 ? 1 : -1));
}

// Every product fits a double exactly, and its sum does too (fp16 ranges span 40 bits): rounding once to float is what
// the definition's fp32 arithmetic must give.
TEST(GgmlBlocks, FollowTheDefinition) {
  Rng rng(7);
  for (const DType dtype : kBlockTypes) {
    const DTypeInfo& info = Info(dtype);
    for (int round = 0; round < 200; ++round) {
      std::vector<std::uint8_t> block(info.block_bytes);
      for (std::uint8_t& byte : block) byte = static_cast<std::uint8_t>(rng.Next());
      if (round == 0) std::fill(block.begin(), block.end(), std::uint8_t{0});
      const Bits bits{block};
      const auto decoded = Decode(dtype, block);
      for (std::size_t k = 0; k < decoded.size(); ++k) {
        const Term term = info.block_elements == 32 ? Define32(dtype, bits, k) : DefineLonger(dtype, bits, k);
        const float want = ToFloat(term.scale * term.code + term.offset);
        if (std::isnan(want)) {
          ASSERT_TRUE(std::isnan(decoded[k])) << info.name << " weight " << k;
        } else {
          ASSERT_EQ(decoded[k], want) << info.name << " round " << round << " weight " << k;
        }
      }
    }
  }
}

std::vector<std::uint8_t> FromHex(const std::string& hex) {
  std::vector<std::uint8_t> bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

// Blocks decoded by the gguf Python package (tools/check_ggml_blocks.py): the same bits.
TEST(GgmlBlocks, Golden) {
  const char* other = std::getenv("METAL_MARLIN_GGML_GOLDEN");
  std::ifstream file(other != nullptr ? other : MARLIN_SOURCE_DIR "/src/files/testdata/ggml_blocks.txt");
  ASSERT_TRUE(file.is_open());
  std::size_t count = 0;
  std::string name, hex, digest;
  while (file >> name >> hex >> digest) {
    const DTypeInfo* info = FindDType(name);
    ASSERT_NE(info, nullptr) << name;
    std::string bits;
    for (float value : Decode(info->dtype, FromHex(hex))) {
      std::uint32_t word = std::isnan(value) ? 0x7fc00000u : std::bit_cast<std::uint32_t>(value);
      for (int i = 0; i < 4; ++i, word >>= 8) bits += static_cast<char>(word);
    }
    ASSERT_EQ(Sha256Hex(bits), digest) << name << " " << hex;
    ++count;
  }
  EXPECT_GE(count, 3 * kBlockTypes.size());
}

TEST(GgmlBlocks, ManyBlocksAreManyTimesOne) {
  Rng rng(11);
  for (const DType dtype : kBlockTypes) {
    const DTypeInfo& info = Info(dtype);
    EXPECT_TRUE(IsBlockType(dtype));
    std::vector<std::uint8_t> bytes(3 * info.block_bytes);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(rng.Below(0x70));  // no infinities, no NaN
    const auto all = Decode(dtype, bytes);
    for (std::size_t b = 0; b < 3; ++b) {
      const auto one = Decode(dtype, std::span(bytes).subspan(b * info.block_bytes, info.block_bytes));
      EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin() + static_cast<std::ptrdiff_t>(b * one.size())));
    }
  }
  EXPECT_FALSE(IsBlockType(DType::kF16));
}

}  // namespace
}  // namespace marlin
