#include "files/ggml_encode.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/check.h"
#include "formats/scale.h"

namespace marlin {
namespace {

constexpr std::size_t kBlock = 32;

using Block = std::span<std::uint8_t>;
using Codes = std::span<const std::uint32_t>;

// Byte j has elements j and j + 16.
void PutNibbles(Codes codes, std::uint8_t* out) {
  for (std::size_t j = 0; j < kBlock / 2; ++j) {
    out[j] = static_cast<std::uint8_t>(codes[j] | codes[j + kBlock / 2] << 4);
  }
}

void PutHalf(std::uint16_t bits, std::uint8_t* out) {
  out[0] = static_cast<std::uint8_t>(bits);
  out[1] = static_cast<std::uint8_t>(bits >> 8);
}

// fp16 scale, 16 bytes of codes; ggml subtracts 8 as the fixed zero point does.
void PutQ4_0(GroupParams params, Codes codes, Block out) {
  PutHalf(params.scale, out.data());
  PutNibbles(codes, out.data() + 2);
}

// fp16 scale, 32 bytes of codes.
void PutQ8_0(GroupParams params, Codes codes, Block out) {
  PutHalf(params.scale, out.data());
  for (std::size_t j = 0; j < kBlock; ++j) out[2 + j] = static_cast<std::uint8_t>(codes[j]);
}

// Exponent + 127, 16 bytes of codes. ggml doubles the values and halves the scale.
void PutMxfp4(GroupParams params, Codes codes, Block out) {
  out[0] = HalfToE8m0(params.scale);
  PutNibbles(codes, out.data() + 1);
}

struct BlockType {
  std::string_view format;
  DType dtype;
  void (*put)(GroupParams params, Codes codes, Block out);
};

// Every format whose groups are whole blocks of a type with the same codes and scales.
constexpr std::array kBlockTypes = {BlockType{"int8-g128", DType::kQ8_0, PutQ8_0},
                                    BlockType{"mxfp4", DType::kMXFP4, PutMxfp4},
                                    BlockType{"q4_0", DType::kQ4_0, PutQ4_0}, BlockType{"q8_0", DType::kQ8_0, PutQ8_0}};

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

void EncodeBlocks(const EncodedMatrixView& matrix, std::size_t row, std::span<std::uint8_t> out) {
  const BlockType* const type = Find(matrix.format->info);
  MARLIN_CHECK(type != nullptr && matrix.cols % kBlock == 0, "a matrix that blocks can hold");
  const std::size_t bytes = Info(type->dtype).block_bytes;
  MARLIN_CHECK(out.size() == matrix.cols / kBlock * bytes, "the bytes of a row of blocks");
  const auto group = static_cast<std::size_t>(matrix.format->info.group);
  std::array<std::uint32_t, kBlock> codes;
  for (std::size_t begin = 0; begin < matrix.cols; begin += kBlock) {
    GetCodes(matrix, row, begin, codes);
    type->put(GetParams(matrix, row, begin / group), codes, out.subspan(begin / kBlock * bytes, bytes));
  }
}

}  // namespace marlin
