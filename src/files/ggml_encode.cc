#include "files/ggml_encode.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/check.h"
#include "formats/scale.h"

namespace marlin {
namespace {

constexpr std::size_t kShortBlock = 32;

using Block = std::span<std::uint8_t>;
using Codes = std::span<const std::uint32_t>;
using Params = std::span<const GroupParams>;  // of the groups of a block, or of the group that the block is a part of

// Byte j has elements j and j + 16 of 32.
void PutNibbles(Codes codes, std::uint8_t* out) {
  for (std::size_t j = 0; j < kShortBlock / 2; ++j) {
    out[j] = static_cast<std::uint8_t>((codes[j] & 15) | (codes[j + kShortBlock / 2] & 15) << 4);
  }
}

void PutHalfBits(std::uint16_t bits, std::uint8_t* out) {
  out[0] = static_cast<std::uint8_t>(bits);
  out[1] = static_cast<std::uint8_t>(bits >> 8);
}
void PutHalf(float value, std::uint8_t* out) { PutHalfBits(FloatToHalf(value), out); }

// What ggml adds to every weight: the bias, or what the zero point amounts to.
float MinimumOf(const GroupParams& params) { return params.bias - params.scale * params.zero_point; }

// fp16 scale, 16 bytes of codes; ggml subtracts 8 as the fixed zero point does. IQ4_NL: the same with a table.
void PutQ4_0(Params params, Codes codes, Block out) {
  PutHalf(params[0].scale, out.data());
  PutNibbles(codes, out.data() + 2);
}

// fp16 scale, fp16 minimum, 16 bytes of codes.
void PutQ4_1(Params params, Codes codes, Block out) {
  PutHalf(params[0].scale, out.data());
  PutHalf(MinimumOf(params[0]), out.data() + 2);
  PutNibbles(codes, out.data() + 4);
}

// 4 bytes with the fifth bit of every code, 16 bytes with the others.
void PutFiveBits(Codes codes, std::uint8_t* out) {
  std::fill_n(out, 4, std::uint8_t{0});
  for (std::size_t j = 0; j < kShortBlock; ++j) out[j / 8] |= static_cast<std::uint8_t>((codes[j] >> 4) << (j % 8));
  PutNibbles(codes, out + 4);
}

// fp16 scale, codes of five bits; ggml subtracts 16.
void PutQ5_0(Params params, Codes codes, Block out) {
  PutHalf(params[0].scale, out.data());
  PutFiveBits(codes, out.data() + 2);
}

// fp16 scale, fp16 minimum, codes of five bits.
void PutQ5_1(Params params, Codes codes, Block out) {
  PutHalf(params[0].scale, out.data());
  PutHalf(MinimumOf(params[0]), out.data() + 2);
  PutFiveBits(codes, out.data() + 4);
}

// fp16 scale, 32 bytes of codes.
void PutQ8_0(Params params, Codes codes, Block out) {
  PutHalf(params[0].scale, out.data());
  for (std::size_t j = 0; j < kShortBlock; ++j) out[2 + j] = static_cast<std::uint8_t>(codes[j]);
}

// Exponent + 127, 16 bytes of codes. ggml doubles the values and halves the scale.
void PutMxfp4(Params params, Codes codes, Block out) {
  out[0] = FloatToE8m0(params[0].scale);
  PutNibbles(codes, out.data() + 1);
}

// Four scales, four runs of 8 bytes: byte j of a run has elements j and j + 8.
void PutNvfp4(Params params, Codes codes, Block out) {
  for (std::size_t run = 0; run < 4; ++run) {
    out[run] = FloatToE4m3(params[run].scale);
    for (std::size_t j = 0; j < 8; ++j) {
      const std::uint32_t* const own = codes.data() + 16 * run + j;
      out[4 + 8 * run + j] = static_cast<std::uint8_t>(own[0] | own[8] << 4);
    }
  }
}

// The 12 bytes of eight scales and eight minima of 6 bits, as ggml_blocks.cc draws them.
void PutSubScales(Params params, std::uint8_t* out) {
  std::fill_n(out, 12, std::uint8_t{0});
  for (std::size_t sub = 0; sub < 8; ++sub) {
    const std::uint32_t scale = MultipleOf(params[sub].scale, HalfToFloat(params[sub].scale_unit));
    const std::uint32_t minimum = MultipleOf(params[sub].bias, HalfToFloat(params[sub].bias_unit));
    if (sub < 4) {
      out[sub] |= static_cast<std::uint8_t>(scale);
      out[sub + 4] |= static_cast<std::uint8_t>(minimum);
    } else {
      out[sub + 4] = static_cast<std::uint8_t>((scale & 15) | (minimum & 15) << 4);
      out[sub - 4] |= static_cast<std::uint8_t>(scale >> 4 << 6);
      out[sub] |= static_cast<std::uint8_t>(minimum >> 4 << 6);
    }
  }
}

// Units of scales and minima, sub-scales, [the fifth bits,] 128 bytes of nibbles. ggml subtracts the minimum.
template <bool kFifthBit>
void PutQ45K(Params params, Codes codes, Block out) {
  PutHalfBits(params[0].scale_unit, out.data());
  PutHalfBits(static_cast<std::uint16_t>(params[0].bias_unit ^ 0x8000), out.data() + 2);
  PutSubScales(params, out.data() + 4);
  std::uint8_t* const high = out.data() + 16;
  std::uint8_t* const low = kFifthBit ? high + 32 : high;
  std::fill(high, out.data() + out.size(), std::uint8_t{0});
  for (std::size_t k = 0; k < codes.size(); ++k) {
    const std::size_t sub = k / 32;
    low[sub / 2 * 32 + k % 32] |= static_cast<std::uint8_t>((codes[k] & 15) << (sub % 2 * 4));
    if (kFifthBit) high[k % 32] |= static_cast<std::uint8_t>((codes[k] >> 4) << sub);
  }
}

// 128 bytes of low nibbles, 64 bytes of high pairs, 16 signed sub-scales, the unit.
void PutQ6K(Params params, Codes codes, Block out) {
  std::fill(out.begin(), out.end(), std::uint8_t{0});
  for (std::size_t k = 0; k < codes.size(); ++k) {
    const std::size_t half = k / 128;
    const std::size_t run = k % 128 / 32;
    const std::size_t j = k % 32;
    out[half * 64 + run % 2 * 32 + j] |= static_cast<std::uint8_t>((codes[k] & 15) << (run / 2 * 4));
    out[128 + half * 32 + j] |= static_cast<std::uint8_t>((codes[k] >> 4) << (run * 2));
  }
  for (std::size_t sub = 0; sub < 16; ++sub) {
    out[192 + sub] = static_cast<std::uint8_t>(MultipleOf(params[sub].scale, HalfToFloat(params[sub].scale_unit)));
  }
  PutHalfBits(params[0].scale_unit, out.data() + 208);
}

struct BlockType {
  std::string_view format;
  DType dtype;
  void (*put)(Params params, Codes codes, Block out);
};

// Every format that has a type with the same codes and scales. The groups are whole blocks, or parts of one.
constexpr std::array kBlockTypes = {
    BlockType{"int4-g64", DType::kQ4_1, PutQ4_1},    BlockType{"int4-g128", DType::kQ4_1, PutQ4_1},
    BlockType{"int8-g128", DType::kQ8_0, PutQ8_0},   BlockType{"mxfp4", DType::kMXFP4, PutMxfp4},
    BlockType{"mlx-nvfp4", DType::kNVFP4, PutNvfp4}, BlockType{"q4_0", DType::kQ4_0, PutQ4_0},
    BlockType{"q4_1", DType::kQ4_1, PutQ4_1},        BlockType{"q5_0", DType::kQ5_0, PutQ5_0},
    BlockType{"q5_1", DType::kQ5_1, PutQ5_1},        BlockType{"q8_0", DType::kQ8_0, PutQ8_0},
    BlockType{"q4_k", DType::kQ4_K, PutQ45K<false>}, BlockType{"q5_k", DType::kQ5_K, PutQ45K<true>},
    BlockType{"q6_k", DType::kQ6_K, PutQ6K},         BlockType{"iq4_nl", DType::kIQ4_NL, PutQ4_0},
    BlockType{"mlx4-g32", DType::kQ4_1, PutQ4_1},    BlockType{"mlx4-g64", DType::kQ4_1, PutQ4_1},
    BlockType{"mlx4-g128", DType::kQ4_1, PutQ4_1}};

const BlockType* Find(const FormatInfo& format) {
  const auto* const row = std::ranges::find(kBlockTypes, format.name, &BlockType::format);
  return row == kBlockTypes.end() ? nullptr : row;
}

}  // namespace

std::optional<DType> BlockTypeOf(const FormatInfo& format) {
  const BlockType* const row = Find(format);
  return row == nullptr ? std::nullopt : std::optional(row->dtype);
}

std::string FormatsWithBlockTypes() {
  std::string names;
  for (const BlockType& row : kBlockTypes) names += fmt::format("{}{}", names.empty() ? "" : ", ", row.format);
  return names;
}

std::size_t CountInexactInBlocks(const EncodedMatrixView& matrix) {
  if (matrix.format->info.zero_point_bits == 0) return 0;
  std::size_t inexact = 0;
  for (std::size_t row = 0; row < matrix.rows; ++row) {
    for (std::size_t group = 0; group < matrix.groups(); ++group) {
      const float minimum = MinimumOf(GetParams(matrix, row, group));
      inexact += HalfToFloat(FloatToHalf(minimum)) == minimum ? 0 : 1;
    }
  }
  return inexact;
}

void EncodeBlocks(const EncodedMatrixView& matrix, std::size_t row, std::span<std::uint8_t> out) {
  const BlockType* const type = Find(matrix.format->info);
  MARLIN_CHECK(type != nullptr, "a format that blocks can hold");
  const DTypeInfo& info = Info(type->dtype);
  MARLIN_CHECK(matrix.cols % info.block_elements == 0, "whole blocks");
  MARLIN_CHECK(out.size() == matrix.cols / info.block_elements * info.block_bytes, "the bytes of a row of blocks");
  const auto group = static_cast<std::size_t>(matrix.format->info.group);
  const std::size_t groups = std::max<std::size_t>(info.block_elements / group, 1);
  std::vector<std::uint32_t> codes(info.block_elements);
  std::vector<GroupParams> params(groups);
  for (std::size_t begin = 0; begin < matrix.cols; begin += info.block_elements) {
    GetCodes(matrix, row, begin, codes);
    for (std::size_t g = 0; g < groups; ++g) params[g] = GetParams(matrix, row, begin / group + g);
    type->put(params, codes, out.subspan(begin / info.block_elements * info.block_bytes, info.block_bytes));
  }
}

}  // namespace marlin
