#include "files/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>

#include "base/half.h"
#include "files/ggml_blocks.h"

namespace marlin {
namespace {

template <class T>
Tensor Make(DType dtype, std::vector<std::size_t> shape, const std::vector<T>& values) {
  return {"t",
          dtype,
          std::move(shape),
          {reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * sizeof(T)},
          {}};
}

std::vector<float> All(const Tensor& tensor) {
  std::vector<float> out(tensor.elements(), std::numeric_limits<float>::quiet_NaN());
  const auto status = DecodeRows(tensor, 0, MatrixView<float>(out.data(), tensor.rows(), tensor.cols()));
  EXPECT_TRUE(status.ok());
  return out;
}

TEST(Tensor, EveryDTypeIsFoundByItsName) {
  for (int i = 0; i <= static_cast<int>(DType::kNVFP4); ++i) {
    const DTypeInfo& info = Info(static_cast<DType>(i));
    EXPECT_EQ(FindDType(info.name), &info);
    EXPECT_EQ(info.block_elements > 1, IsBlockType(info.dtype)) << info.name;
  }
  EXPECT_EQ(FindDType("F8_E5M2"), nullptr);
}

TEST(Tensor, RowsAndColumns) {
  EXPECT_EQ((Tensor{"t", DType::kF32, {}, {}, {}}.elements()), 1u);
  const Tensor vector{"t", DType::kF32, {7}, {}, {}};
  EXPECT_EQ(vector.rows(), 1u);
  EXPECT_EQ(vector.cols(), 7u);
  const Tensor cube{"t", DType::kF32, {2, 3, 5}, {}, {}};
  EXPECT_EQ(cube.rows(), 6u);
  EXPECT_EQ(cube.cols(), 5u);
}

TEST(Tensor, SizesAndOverflow) {
  const auto size = [](DType dtype, std::vector<std::size_t> shape) { return ByteSize(dtype, shape, "tensor t"); };
  EXPECT_EQ(*size(DType::kF32, {}), 4u);
  EXPECT_EQ(*size(DType::kBF16, {3, 5}), 30u);
  EXPECT_EQ(*size(DType::kQ4_K, {2, 512}), 2u * 2 * 144);
  EXPECT_EQ(*size(DType::kF32, {5, 0}), 0u);
  const std::size_t huge = std::size_t{1} << 62;
  for (const auto& shape : std::vector<std::vector<std::size_t>>{
           {huge, huge}, {huge}, {SIZE_MAX}, {SIZE_MAX, 1}, {1u << 31, 1u << 31, 2}, {SIZE_MAX, 0}, {0, SIZE_MAX}}) {
    EXPECT_FALSE(size(DType::kF32, shape).ok()) << testing::PrintToString(shape);
  }
  const auto ragged = size(DType::kQ4_0, {2, 33});
  ASSERT_FALSE(ragged.ok());
  EXPECT_EQ(ragged.error().code, ErrorCode::kInput);
  EXPECT_NE(ragged.error().message.find("tensor t"), std::string::npos);
  EXPECT_FALSE(size(DType::kQ4_0, {}).ok()) << "a scalar is no block";
}

TEST(Tensor, DecodesDenseTypes) {
  EXPECT_EQ(All(Make<float>(DType::kF32, {2}, {1.5f, -0.0f})), (std::vector<float>{1.5f, -0.0f}));
  EXPECT_EQ(All(Make<double>(DType::kF64, {1, 2}, {0.1, 3})), (std::vector<float>{0.1f, 3}));
  EXPECT_EQ(All(Make<std::uint16_t>(DType::kF16, {2}, {0x3c00, 0x0001})), (std::vector<float>{1, 0x1p-24f}));
  EXPECT_EQ(All(Make<std::uint16_t>(DType::kBF16, {2}, {0x3f80, 0xc040})), (std::vector<float>{1, -3}));
  const auto special = All(Make<std::uint16_t>(DType::kF16, {3}, {0x7c00, 0xfc00, 0x7e01}));
  EXPECT_EQ(special[0], std::numeric_limits<float>::infinity());
  EXPECT_EQ(special[1], -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(special[2]));
}

TEST(Tensor, DecodesARangeOfRowsIntoAStride) {
  const std::vector<float> values = {0, 1, 2, 3, 4, 5, 6, 7};
  const Tensor tensor = Make<float>(DType::kF32, {4, 2}, values);
  std::vector<float> out(6, -1);
  ASSERT_TRUE(DecodeRows(tensor, 1, MatrixView<float>(out.data(), 2, 2, 3)).ok());
  EXPECT_EQ(out, (std::vector<float>{2, 3, -1, 4, 5, -1}));
}

TEST(Tensor, IntegersAreNoWeights) {
  std::vector<float> out(1);
  const std::vector<std::int32_t> values = {1};
  const auto status = DecodeRows(Make<std::int32_t>(DType::kI32, {1}, values), 0, MatrixView<float>(out.data(), 1, 1));
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kUnsupported);
}

// The file's order is made here by the definition (head, half, pair) -> (head, pair, half), independently of StoredRow.
TEST(Tensor, RotaryRowsComeBackInHuggingFaceOrder) {
  constexpr std::size_t kHeads = 3, kHeadRows = 6, kRows = kHeads * kHeadRows;
  std::vector<float> stored;
  for (std::size_t h = 0; h < kHeads; ++h) {
    for (std::size_t pair = 0; pair < kHeadRows / 2; ++pair) {
      for (std::size_t half = 0; half < 2; ++half) {
        stored.push_back(static_cast<float>(h * kHeadRows + half * kHeadRows / 2 + pair));
      }
    }
  }
  std::vector<float> in_order(kRows);
  std::iota(in_order.begin(), in_order.end(), 0.0f);

  Tensor matrix = Make<float>(DType::kF32, {kRows, 1}, stored);
  EXPECT_EQ(All(matrix), stored) << "without an order nothing moves";
  matrix.stored.rotary_heads = kHeads;
  EXPECT_EQ(All(matrix), in_order);

  Tensor bias = Make<float>(DType::kF32, {kRows}, stored);
  bias.stored.rotary_heads = kHeads;
  EXPECT_EQ(All(bias), in_order);

  std::vector<float> one(1);
  ASSERT_TRUE(DecodeRows(matrix, 10, MatrixView<float>(one.data(), 1, 1)).ok());
  EXPECT_EQ(one[0], 10.0f);
}

// A part of the rows, in runs, of a matrix that lies either way, and of a vector.
TEST(Tensor, PartsAndTransposedMatrices) {
  constexpr std::size_t kRows = 12, kCols = 5;
  std::vector<float> stored(kRows * kCols), turned(kRows * kCols);
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t c = 0; c < kCols; ++c)
      stored[r * kCols + c] = turned[c * kRows + r] = static_cast<float>(10 * r + c);
  }
  const RowRange range{1, 2, 6};  // rows 1, 2, 7, 8
  const std::vector<std::size_t> rows = {1, 2, 7, 8};
  for (const bool transposed : {false, true}) {
    Tensor part = Make(DType::kF32, {4, kCols}, transposed ? turned : stored);
    part.stored.rows = range;
    part.stored.all_rows = kRows;
    part.stored.transposed = transposed;
    EXPECT_FALSE(part.IsPlain());
    EXPECT_EQ(part.byte_size(), 4 * kCols * sizeof(float));
    const std::vector<float> all = All(part);
    for (std::size_t r = 0; r < rows.size(); ++r) {
      for (std::size_t c = 0; c < kCols; ++c) EXPECT_EQ(all[r * kCols + c], static_cast<float>(10 * rows[r] + c));
    }
    std::vector<float> last(kCols, NAN);
    ASSERT_TRUE(DecodeRows(part, 3, MatrixView<float>(last.data(), 1, kCols)).ok());
    EXPECT_EQ(last, std::vector<float>(all.end() - kCols, all.end())) << "from another row on";
  }

  std::vector<float> elements(kRows);
  std::iota(elements.begin(), elements.end(), 0.0f);
  Tensor vector = Make(DType::kF32, {4}, elements);
  vector.stored.rows = range;
  vector.stored.all_rows = kRows;
  EXPECT_EQ(All(vector), (std::vector<float>{1, 2, 7, 8}));
}

// Weights of 16 bits that are not tiny survive + 1 and its undoing.
TEST(Tensor, WhatWasAddedIsTakenAway) {
  std::vector<float> stored, want;
  for (const float value : {0.0f, 1.0f, -1.0f, 0.15625f, -0.33203125f, 17.25f, 0x1p-14f}) {
    want.push_back(value);
    stored.push_back(value + 1);
  }
  Tensor tensor = Make(DType::kF32, {stored.size()}, stored);
  tensor.stored.added = 1;
  EXPECT_EQ(All(tensor), want);
}

}  // namespace
}  // namespace marlin
