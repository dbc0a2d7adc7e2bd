#include "files/folder_layout.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/half.h"
#include "base/rng.h"
#include "files/ggml_encode.h"
#include "formats/formats.h"
#include "formats/runtimes.h"

namespace marlin {
namespace {
using nlohmann::json;

using Bytes = std::vector<std::uint8_t>;

// A row of one group: codes 0, 1, 2, ... of the format, with these parameters.
EncodedMatrix Counting(const char* format, std::size_t cols, float scale, std::uint8_t zero) {
  EncodedMatrix matrix(*FindFormat(format), 1, cols);
  std::vector<std::uint32_t> codes(cols);
  for (std::size_t i = 0; i < cols; ++i) codes[i] = static_cast<std::uint32_t>(i % 16);
  SetCodes(matrix, 0, 0, codes);
  SetParams(matrix, 0, 0, {.scale = scale, .zero_point = zero});
  return matrix;
}

TEST(FolderLayout, TheTableSaysWhereAFormatStands) {
  EXPECT_EQ(FormatsOf(FolderLayout::kCompressedTensors), "int8-g128, int4-g64, int4-g128, mxfp4, nvfp4, q4_0, q8_0");
  EXPECT_EQ(FormatsOf(FolderLayout::kMlx),
            "int8-g128, int4-g64, int4-g128, mxfp4, mlx-nvfp4, q4_0, q4_1, q8_0, mlx4-g32, mlx4-g64, mlx4-g128");
  EXPECT_EQ(ContainersOf(FindFormat("int4-g64")->info), "GGUF, compressed-tensors, MLX");
  EXPECT_EQ(ContainersOf(FindFormat("q4_0")->info), "GGUF, compressed-tensors, MLX");
  EXPECT_EQ(ContainersOf(FindFormat("fp4-g128")->info), "");
  for (const FormatRow& row : Formats()) EXPECT_EQ(Holds(FolderLayout::kOwn, row.info), HasGroups(row.info));
}

constexpr std::size_t kRows = 1024, kCols = 4096;

// Of so many weights of a format: the whole tensors of a container without its words.
double BitsIn(FolderLayout layout, const FormatRow& row) {
  std::uint64_t bytes = 0;
  for (const PlannedTensor& tensor : TensorsOf(layout, DType::kF16, "m", row, kRows, kCols)) {
    if (!tensor.name.ends_with("shape")) bytes += *ByteSize(tensor.dtype, tensor.shape, tensor.name);
  }
  return static_cast<double>(8 * bytes) / (kRows * kCols);
}

double OwnBits(const FormatRow& row) {
  return static_cast<double>(8 * SizeOfEncoded(row.info, kRows, kCols).total()) / (kRows * kCols);
}

// The list of runtimes says the same, and how many bits the files need.
TEST(FolderLayout, RuntimesRunWhatTheirContainersHold) {
  const auto expect = [](const char* runtime, const FormatRow& row, bool held, std::size_t block, double bits) {
    const HeldFormat* const stored = FindHeld(**ParseRuntime(runtime), row.info);
    ASSERT_EQ(stored != nullptr, held) << row.info.name << " in " << runtime;
    if (stored == nullptr) return;
    EXPECT_EQ(BlockOf(*stored, row.info), block) << row.info.name << " in " << runtime;
    // Units of matrices and blocks are small.
    EXPECT_NEAR(stored->bits > 0 ? stored->bits : OwnBits(row), bits, 1e-4) << row.info.name << " in " << runtime;
  };
  for (const FormatRow& row : Formats()) {
    if (!HasGroups(row.info)) continue;
    const auto type = BlockTypeOf(row.info);
    const std::size_t block = type ? Info(*type).block_elements : 0;
    expect("gguf", row, type.has_value(), block, type ? 8.0 * Info(*type).block_bytes / static_cast<double>(block) : 0);
    const bool mlx = Holds(FolderLayout::kMlx, row.info), packed = Holds(FolderLayout::kCompressedTensors, row.info);
    const auto group = static_cast<std::size_t>(row.info.group);
    expect("mlx", row, mlx, group, mlx ? BitsIn(FolderLayout::kMlx, row) : 0);
    // vLLM has no fast kernel for INT8 in groups of 32.
    const bool fast = packed && row.info.name != "q8_0";
    expect("vllm", row, fast, group, packed ? BitsIn(FolderLayout::kCompressedTensors, row) : 0);
  }
  for (const Runtime& runtime : kRuntimes) {
    for (const FormatRow* row : FormatsOf(runtime.planned)) {
      EXPECT_NE(FindHeld(runtime, row->info), nullptr) << row->info.name;
    }
  }
}

TEST(FolderLayout, Settings) {
  EXPECT_EQ(MlxSettings(FindFormat("q8_0")->info), (json{{"group_size", 32}, {"bits", 8}, {"mode", "affine"}}));
  EXPECT_EQ(MlxSettings(FindFormat("mxfp4")->info), (json{{"group_size", 32}, {"bits", 4}, {"mode", "mxfp4"}}));
  const json int4 = CompressedTensorsWeights(FindFormat("int4-g128")->info);
  EXPECT_EQ(int4["symmetric"], false);
  EXPECT_EQ(int4["group_size"], 128);
  const json mx = CompressedTensorsWeights(FindFormat("mxfp4")->info);
  EXPECT_EQ(mx["type"], "float");
  EXPECT_EQ(mx["scale_dtype"], "torch.uint8");
  EXPECT_EQ(CompressedTensorsName(FindFormat("mxfp4")->info), "mxfp4-pack-quantized");
}

TEST(FolderLayout, AffineGroupsOfMlx) {
  const EncodedMatrix matrix = Counting("int4-g64", 64, 0.5f, 3);
  const auto tensors = TensorsOf(FolderLayout::kMlx, DType::kF32, "m", *matrix.format, 1, 64);
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors[0].name, "m.weight");
  EXPECT_EQ(tensors[0].dtype, DType::kU32);
  EXPECT_EQ(tensors[0].shape, (std::vector<std::size_t>{1, 8}));
  EXPECT_EQ(tensors[2].name, "m.biases");
  const auto bytes = BytesOf(FolderLayout::kMlx, DType::kF32, matrix.view());
  EXPECT_EQ(Bytes(bytes[0].view().begin(), bytes[0].view().begin() + 2), (Bytes{0x10, 0x32}));
  EXPECT_EQ(Bytes(bytes[1].view().begin(), bytes[1].view().end()), (Bytes{0, 0, 0, 0x3f})) << "0.5";
  EXPECT_EQ(Bytes(bytes[2].view().begin(), bytes[2].view().end()), (Bytes{0, 0, 0xc0, 0xbf})) << "-1.5";
}

TEST(FolderLayout, CodesOf8BitsLoseTheirSigns) {
  const EncodedMatrix matrix = Counting("q8_0", 32, 2.0f, 0);
  for (const FolderLayout layout : {FolderLayout::kCompressedTensors, FolderLayout::kMlx}) {
    const auto bytes = BytesOf(layout, DType::kF16, matrix.view());
    EXPECT_EQ(bytes[0].view()[0], 0x80) << NameOf(layout);
    EXPECT_EQ(bytes[0].view()[5], 0x85) << NameOf(layout);
  }
  EXPECT_EQ(BytesOf(FolderLayout::kOwn, DType::kF16, matrix.view())[0].view()[5], 5);
  const auto mlx = BytesOf(FolderLayout::kMlx, DType::kF16, matrix.view());
  EXPECT_EQ(Bytes(mlx[2].view().begin(), mlx[2].view().end()), (Bytes{0x00, 0xdc})) << "-256 as fp16";
  const auto packed = TensorsOf(FolderLayout::kCompressedTensors, DType::kF16, "m", *matrix.format, 1, 32);
  EXPECT_EQ(packed[0].dtype, DType::kI32);
  EXPECT_EQ(packed[0].shape, (std::vector<std::size_t>{1, 8}));
}

TEST(FolderLayout, Mxfp4KeepsItsBytes) {
  const EncodedMatrix matrix = Counting("mxfp4", 32, 0.25f, 0);
  const auto packed = TensorsOf(FolderLayout::kCompressedTensors, DType::kF16, "m", *matrix.format, 1, 32);
  ASSERT_EQ(packed.size(), 2u) << "no shape";
  EXPECT_EQ(packed[0].dtype, DType::kU8);
  const auto mlx = TensorsOf(FolderLayout::kMlx, DType::kBF16, "m", *matrix.format, 1, 32);
  ASSERT_EQ(mlx.size(), 2u) << "no biases";
  EXPECT_EQ(mlx[1].dtype, DType::kU8);
  EXPECT_EQ(BytesOf(FolderLayout::kMlx, DType::kBF16, matrix.view())[1].view()[0], 125);
}

TEST(FolderLayout, GroupsThatATypeDoesNotHold) {
  EncodedMatrix matrix(*FindFormat("int4-g64"), 2, 128);
  SetParams(matrix, 0, 0, {.scale = 0.5f, .zero_point = 15});
  SetParams(matrix, 0, 1, {.scale = 1 + 0x1p-10f, .zero_point = 8});  // 11 bits; times 8 they are not more
  SetParams(matrix, 1, 0, {.scale = 1 + 0x1p-10f, .zero_point = 3});  // 3.0029296875 has 12
  SetParams(matrix, 1, 1, {.scale = 16384, .zero_point = 15});
  const InexactGroups half = CountInexact(matrix.view(), DType::kF16);
  EXPECT_EQ(half.count, 2u) << "the last is beyond fp16";
  EXPECT_EQ(half.groups, 4u);
  EXPECT_EQ(half.row, 1u);
  EXPECT_EQ(half.group, 0u);
  EXPECT_EQ(CountInexact(matrix.view(), DType::kBF16).count, 2u);
  EXPECT_EQ(CountInexact(matrix.view(), DType::kF32).count, 0u);
  EXPECT_EQ(CountInexact(EncodedMatrix(*FindFormat("mxfp4"), 2, 64).view(), DType::kBF16).groups, 0u);
}

}  // namespace
}  // namespace marlin
