#include "files/ggml_encode.h"

#include <gtest/gtest.h>

#include <bit>
#include <vector>

#include "base/rng.h"
#include "files/ggml_blocks.h"
#include "formats/formats.h"

namespace marlin {
namespace {

EncodedMatrix RandomMatrix(const FormatRow& format, std::size_t rows, std::size_t cols) {
  Rng rng(cols);
  std::vector<float> weights(rows * cols);
  for (float& weight : weights) weight = static_cast<float>(0.05 * rng.Normal());
  return Encode(format, {weights.data(), rows, cols});
}

// ggml's own definition gives our numbers, bit for bit.
TEST(GgmlEncode, BlocksDecodeToTheSameBits) {
  std::size_t formats = 0;
  for (const FormatRow& format : Formats()) {
    const auto type = BlockTypeOf(format.info);
    if (!type) continue;
    ++formats;
    const std::size_t block = Info(*type).block_elements;
    for (const std::size_t cols : {32u, 64u, 96u, 160u, 576u, 256u, 1280u}) {
      if (cols % block != 0) continue;
      const EncodedMatrix matrix = RandomMatrix(format, 5, cols);
      for (std::size_t row = 0; row < 5; ++row) {
        std::vector<std::uint8_t> blocks(cols / block * Info(*type).block_bytes, 0xee);
        EncodeBlocks(matrix.view(), row, blocks);
        std::vector<float> want(cols, NAN), got(cols, NAN);
        DecodeRow(matrix.view(), row, want);
        DecodeBlocks(*type, blocks, got);
        for (std::size_t i = 0; i < cols; ++i) {
          EXPECT_EQ(std::bit_cast<std::uint32_t>(want[i]), std::bit_cast<std::uint32_t>(got[i]))
              << format.info.name << " " << i;
        }
      }
    }
  }
  EXPECT_EQ(formats, 17u) << FormatsWithBlockTypes();
}

// By hand from ggml's definitions.
TEST(GgmlEncode, GoldenBytes) {
  std::vector<float> weights(32, 0.0f);
  weights[0] = -2;     // peak: code 0, scale 0.25
  weights[16] = 1;     // code 12, the high nibble of byte 0
  weights[1] = 0.25f;  // code 9
  const EncodedMatrix q4 = Encode(*FindFormat("q4_0"), {weights.data(), 1, 32});
  std::vector<std::uint8_t> bytes(18);
  EncodeBlocks(q4.view(), 0, bytes);
  EXPECT_EQ(bytes, (std::vector<std::uint8_t>{0x00, 0x34, 0xc0, 0x89, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88,
                                              0x88, 0x88, 0x88, 0x88, 0x88, 0x88}));
  const EncodedMatrix mx = Encode(*FindFormat("mxfp4"), {weights.data(), 1, 32});
  bytes.resize(17);
  EncodeBlocks(mx.view(), 0, bytes);
  // Peak 2: exponent 1 - 2 = -1, byte 126; -4 is code 14, 2 is code 4, 0.5 is code 1.
  EXPECT_EQ(bytes[0], 126);
  EXPECT_EQ(bytes[1], 0x4e);
  EXPECT_EQ(bytes[2], 0x01);
}

TEST(GgmlEncode, FormatsThatWouldChangeHaveNoType) {
  for (const char* name : {"fp4-g32", "fp4-g128", "nvfp4"}) {
    EXPECT_FALSE(BlockTypeOf(FindFormat(name)->info).has_value()) << name;
  }
}

}  // namespace
}  // namespace marlin
