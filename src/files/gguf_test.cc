#include "files/gguf.h"

#include <string>

#include "base/rng.h"
#include "files/test_files.h"

namespace marlin {
namespace {

class Gguf : public TemporaryFolder {
 protected:
  Result<GgufFile> Open(const std::string& bytes) const { return GgufFile::Open(Write("x.gguf", bytes)); }

  // Opening fails with this code and a message that holds `part` and the file's name.
  void ExpectError(const std::string& bytes, ErrorCode code, const std::string& part) const {
    const auto file = Open(bytes);
    ASSERT_FALSE(file.ok()) << part;
    EXPECT_EQ(file.error().code, code) << file.error().message;
    EXPECT_NE(file.error().message.find(part), std::string::npos) << file.error().message;
    EXPECT_NE(file.error().message.find("x.gguf"), std::string::npos) << file.error().message;
  }

  // One of everything.
  static GgufBuilder Sample() {
    GgufBuilder builder;
    builder.Text("general.architecture", "llama").U32("n", 7).F32("eps", 1e-5f);
    builder.Pair("flag", GgufType::kBool, Raw<std::uint8_t>(1));
    builder.Pair("i8", GgufType::kI8, Raw<std::int8_t>(-3)).Pair("u64", GgufType::kU64, Raw<std::uint64_t>(~0ull));
    builder.Array("ids", GgufType::kI32, 3, Raw<std::int32_t>(-1) + Raw<std::int32_t>(2) + Raw<std::int32_t>(3));
    builder.Array("scores", GgufType::kF32, 1, Raw<float>(0.5f));
    builder.Array("tokens", GgufType::kString, 2, GgufBuilder::String("a") + GgufBuilder::String(""));
    builder.Floats("w", {2, 3}, {1, 2, 3, 4, 5, 6});
    builder.Tensor("q", {32}, 8, std::string(34, '\1'));
    return builder;
  }

  struct BlockType {
    std::uint32_t id;  // ggml's number
    DType dtype;
  };
  static constexpr std::array kBlockTypes = {
      BlockType{2, DType::kQ4_0},   BlockType{3, DType::kQ4_1},    BlockType{6, DType::kQ5_0},
      BlockType{7, DType::kQ5_1},   BlockType{8, DType::kQ8_0},    BlockType{10, DType::kQ2_K},
      BlockType{11, DType::kQ3_K},  BlockType{12, DType::kQ4_K},   BlockType{13, DType::kQ5_K},
      BlockType{14, DType::kQ6_K},  BlockType{20, DType::kIQ4_NL}, BlockType{23, DType::kIQ4_XS},
      BlockType{39, DType::kMXFP4}, BlockType{40, DType::kNVFP4}};

  // A tensor [2, 256] of every block type, of random bytes.
  static GgufBuilder EveryBlockType(Rng& rng) {
    GgufBuilder builder;
    for (const BlockType& type : kBlockTypes) {
      const DTypeInfo& info = Info(type.dtype);
      std::string bytes(512 / info.block_elements * info.block_bytes, '\0');
      for (char& byte : bytes) byte = static_cast<char>(rng.Next());
      builder.Tensor(std::string(info.name), {256, 2}, type.id, bytes);
    }
    return builder;
  }
};

TEST_F(Gguf, ReadsMetadataAndTensors) {
  for (const std::uint32_t version : {2u, 3u}) {
    GgufBuilder builder = Sample();
    builder.version = version;
    const auto file = Open(builder.Bytes());
    ASSERT_TRUE(file.ok()) << file.error().message;
    EXPECT_EQ(file->version, version);
    EXPECT_EQ(*file->Require<std::string_view>("general.architecture"), "llama");
    EXPECT_EQ(*file->Require<std::int64_t>("n"), 7);
    EXPECT_EQ(*file->Require<std::int64_t>("i8"), -3);
    EXPECT_EQ(*file->Require<std::uint64_t>("u64"), ~0ull);
    EXPECT_EQ(*file->Require<double>("eps"), static_cast<double>(1e-5f));
    EXPECT_TRUE(*file->Require<bool>("flag"));
    EXPECT_EQ(*file->Require<GgufStrings>("tokens"), (GgufStrings{"a", ""}));
    const auto ids = *file->Require<GgufNumbers>("ids");
    EXPECT_EQ(ids.size, 3u);
    EXPECT_EQ(ids.Integer(0), -1);
    EXPECT_EQ(ids.Number(2), 3.0);
    EXPECT_EQ(file->Require<GgufNumbers>("scores")->Number(0), 0.5);
    ASSERT_EQ(file->tensors.size(), 2u);
    EXPECT_EQ(file->tensors[0].shape, (std::vector<std::size_t>{3, 2})) << "slowest first";
    EXPECT_EQ(file->tensors[1].dtype, DType::kQ8_0);
    EXPECT_EQ(file->tensors[1].bytes.size(), 34u);
    EXPECT_EQ(file->tensors[1].bytes[33], 1);
  }
}

TEST_F(Gguf, KeysThatAreNotThereOrOfAnotherType) {
  const auto file = Open(Sample().Bytes());
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(*file->Find<bool>("absent"), nullptr);
  EXPECT_FALSE(file->Has("absent"));
  EXPECT_FALSE(file->Require<bool>("absent").ok());
  const auto wrong = file->Find<std::string_view>("n");
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.error().message.find("\"n\" is an integer, want a string"), std::string::npos)
      << wrong.error().message;
}

TEST_F(Gguf, EveryTruncationIsNoticed) {
  const std::string whole = Sample().Bytes();
  const std::size_t used = whole.size() - 30;  // the last tensor has 34 bytes of 64
  for (std::size_t size = 0; size < used; ++size) {
    const auto file = Open(whole.substr(0, size));
    ASSERT_FALSE(file.ok()) << size << " bytes of " << whole.size();
    EXPECT_EQ(file.error().code, ErrorCode::kInput);
  }
  EXPECT_TRUE(Open(whole.substr(0, used)).ok());
}

// Whatever a damaged header says, opening it and touching all it promises stays inside the file.
TEST_F(Gguf, FlippedBytesNeverLeadOutsideTheFile) {
  const std::string whole = Sample().Bytes();
  Rng rng(3);
  std::size_t opened = 0;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const int flip : {0x01, 0x80, 0xff, static_cast<int>(1 + rng.Below(254))}) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      const auto file = Open(damaged);
      if (!file) {
        EXPECT_FALSE(file.error().message.empty());
        continue;
      }
      ++opened;
      std::uint64_t sum = 0;
      for (const Tensor& tensor : file->tensors) {
        for (const std::uint8_t byte : tensor.bytes) sum += byte;
      }
      for (const auto& [key, value] : file->metadata) {
        if (const auto* strings = std::get_if<GgufStrings>(&value)) {
          for (const std::string_view text : *strings) sum += text.size() + (text.empty() ? 0 : text.back() != 0);
        }
      }
      EXPECT_LT(sum, 1u << 20);
    }
  }
  EXPECT_GT(opened, whole.size()) << "names and data may be anything";
}

TEST_F(Gguf, EveryBlockTypeIsReadAndDecoded) {
  Rng rng(8);
  const std::string whole = EveryBlockType(rng).Bytes();
  const auto file = Open(whole);
  ASSERT_TRUE(file.ok()) << file.error().message;
  ASSERT_EQ(file->tensors.size(), kBlockTypes.size());
  for (std::size_t i = 0; i < kBlockTypes.size(); ++i) {
    EXPECT_EQ(file->tensors[i].dtype, kBlockTypes[i].dtype) << file->tensors[i].name;
  }
  // A damaged entry may name another type, shape or place: what is then opened can be decoded to its end.
  const std::size_t header = whole.find("MXFP4") + 64;
  std::size_t opened = 0;
  for (std::size_t at = 8; at < header; ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ static_cast<int>(1 + rng.Below(255)));
    const auto other = Open(damaged);
    if (!other) continue;
    ++opened;
    for (const Tensor& tensor : other->tensors) {
      if (!Info(tensor.dtype).is_weight) continue;
      std::vector<float> out(tensor.elements());
      EXPECT_TRUE(DecodeRows(tensor, 0, MatrixView<float>(out.data(), tensor.rows(), tensor.cols())).ok());
    }
  }
  EXPECT_GT(opened, kBlockTypes.size()) << "names may be anything";
}

TEST_F(Gguf, ForeignFiles) {
  ExpectError("", ErrorCode::kInput, "truncated");
  ExpectError("PK\3\4 something else", ErrorCode::kInput, "not a GGUF file");
  GgufBuilder builder = Sample();
  builder.version = 1;
  ExpectError(builder.Bytes(), ErrorCode::kUnsupported, "version 1");
  builder.version = 4;
  ExpectError(builder.Bytes(), ErrorCode::kUnsupported, "version 4");
  builder.version = 0x03000000;
  ExpectError(builder.Bytes(), ErrorCode::kUnsupported, "big-endian");
}

TEST_F(Gguf, HugeCountsAndLengths) {
  for (const std::uint64_t huge : {~0ull, 1ull << 63, 1ull << 61, 1ull << 40, (1ull << 20) + 1}) {
    GgufBuilder tensors = Sample(), pairs = Sample();
    tensors.tensor_count = huge;
    ExpectError(tensors.Bytes(), ErrorCode::kInput, "tensors");
    pairs.pair_count = huge;
    ExpectError(pairs.Bytes(), ErrorCode::kInput, "metadata pairs");
    ExpectError(GgufBuilder().Pair("k", GgufType::kString, Raw(huge)).Bytes(), ErrorCode::kInput, "\"k\"");
    for (const GgufType type : {GgufType::kU8, GgufType::kF64, GgufType::kString}) {
      ExpectError(GgufBuilder().Array("k", type, huge, "").Bytes(), ErrorCode::kInput, "\"k\"");
    }
    ExpectError(GgufBuilder().Entry("t", {huge, huge}, 0, 0).Bytes(), ErrorCode::kInput, "tensor t");
    ExpectError(GgufBuilder().Entry("t", {32, huge}, 2, 0).Bytes(), ErrorCode::kInput, "tensor t");
    ExpectError(GgufBuilder().Entry("t", {4}, 0, huge & ~31ull).Bytes(), ErrorCode::kInput, "tensor t");
  }
}

TEST_F(Gguf, NonsenseInMetadata) {
  ExpectError(GgufBuilder().U32("k", 1).U32("k", 1).Bytes(), ErrorCode::kInput, "\"k\" appears twice");
  ExpectError(GgufBuilder().U32("", 1).Bytes(), ErrorCode::kInput, "key is empty");
  ExpectError(GgufBuilder().Pair("k", static_cast<GgufType>(13), Raw(1)).Bytes(), ErrorCode::kInput, "unknown type 13");
  ExpectError(GgufBuilder().Array("k", GgufType::kArray, 1, Raw(4) + Raw(1ull) + Raw(1)).Bytes(),
              ErrorCode::kUnsupported, "array of arrays");
  for (const std::uint32_t alignment : {0u, 3u, 48u, 1u << 31}) {
    ExpectError(GgufBuilder().U32("general.alignment", alignment).Bytes(), ErrorCode::kInput, "power of two");
  }
  ExpectError(GgufBuilder().Text("general.alignment", "32").Bytes(), ErrorCode::kInput, "general.alignment");
}

TEST_F(Gguf, NonsenseInTensors) {
  const std::vector<float> four(8);
  ExpectError(GgufBuilder().Floats("t", {8}, four).Floats("t", {8}, four).Bytes(), ErrorCode::kInput,
              "tensor t appears twice");
  ExpectError(GgufBuilder().Floats("", {8}, four).Bytes(), ErrorCode::kInput, "no name");
  ExpectError(GgufBuilder().Floats("t", {8, 0}, four).Bytes(), ErrorCode::kInput, "dimension of 0");
  ExpectError(GgufBuilder().Floats("t", {1, 1, 1, 1, 8}, four).Bytes(), ErrorCode::kInput, "5 dimensions");
  ExpectError(GgufBuilder().Floats("t", {8}, four).Entry("u", {8}, 0, 0).Bytes(), ErrorCode::kInput, "overlap");
  ExpectError(GgufBuilder().Floats("t", {64}, std::vector<float>(64)).Entry("u", {2}, 0, 32).Bytes(), ErrorCode::kInput,
              "overlap");
  ExpectError(GgufBuilder().Floats("t", {8}, four).Entry("u", {1}, 0, 4).Bytes(), ErrorCode::kInput, "multiple of 32");
  ExpectError(GgufBuilder().Floats("t", {9}, four).Bytes(), ErrorCode::kInput, "needs bytes");
  ExpectError(GgufBuilder().Tensor("t", {33}, 2, std::string(36, 0)).Bytes(), ErrorCode::kInput,
              "not whole Q4_0 blocks");
}

TEST_F(Gguf, BlockTypesThatAreNotReadAreNamed) {
  ExpectError(GgufBuilder().Entry("blk.0.attn_q.weight", {256}, 18, 0).Bytes(), ErrorCode::kUnsupported,
              "tensor blk.0.attn_q.weight has the type IQ3_XXS");
  ExpectError(GgufBuilder().Entry("t", {256}, 35, 0).Bytes(), ErrorCode::kUnsupported, "TQ2_0");
  ExpectError(GgufBuilder().Entry("t", {256}, 4242, 0).Bytes(), ErrorCode::kUnsupported, "number 4242");
}

TEST_F(Gguf, AlignmentOfTheFileIsUsed) {
  GgufBuilder builder;
  builder.U32("general.alignment", 8).Entry("t", {2}, 0, 8);
  std::string bytes = builder.Bytes();
  while (bytes.size() % 8 != 0) bytes += '\0';
  bytes += Raw(0ull) + Raw(1.0f) + Raw(2.0f);
  const auto file = Open(bytes);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->tensors[0].bytes.size(), 8u);
}

TEST_F(Gguf, AFolderOrNoFile) {
  EXPECT_EQ(GgufFile::Open(folder_).error().code, ErrorCode::kInput);
  EXPECT_EQ(GgufFile::Open(folder_ / "absent").error().code, ErrorCode::kInput);
}

}  // namespace
}  // namespace marlin
