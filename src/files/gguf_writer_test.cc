#include "files/gguf_writer.h"

#include "files/gguf_parts.h"
#include "files/test_files.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

GgufPairs SomePairs() {
  GgufPairs pairs;
  pairs.Set("general.architecture", "llama");
  pairs.Set("a.flag", true);
  pairs.Set("a.count", std::uint32_t{7});
  pairs.Set("a.real", 0.5f);
  pairs.Set("a.words", std::vector<std::string>{"x", "", "yz"});
  pairs.Set("a.types", std::vector<std::int32_t>{-1, 3});
  pairs.Set("a.scores", std::vector<float>{-0.5f, 2});
  pairs.Set("a.flags", GgufFlags{{1, 0, 1}});
  pairs.Set("a.count", std::uint32_t{8});
  return pairs;
}

class GgufWriterTest : public TemporaryFolder {
 protected:
  // Three tensors of 4, 20 and 12 bytes.
  static std::vector<GgufPlace> Places() {
    return {{"one", DType::kF32, {1}}, {"two", DType::kBF16, {2, 5}}, {"three", DType::kF32, {3}}};
  }
  static std::string BytesOf(std::size_t i) {
    return std::string(i == 0 ? 4 : i == 1 ? 20 : 12, static_cast<char>(i + 1));
  }

  Result<GgufWriter> Create(std::uint64_t part_bytes, bool overwrite = false) const {
    return GgufWriter::Create(folder_ / "m.gguf", SomePairs(), Places(), part_bytes, overwrite);
  }
  static void WriteAll(GgufWriter& writer) {
    for (std::size_t i = 0; i < 3; ++i) {
      const std::string bytes = BytesOf(i);
      const std::span<const std::uint8_t> all(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
      ASSERT_TRUE(writer.Write(all.first(4)).ok());
      if (all.size() > 4) {
        ASSERT_TRUE(writer.Write(all.subspan(4)).ok());
      }
    }
  }
  static void ExpectTensors(const std::vector<Tensor>& tensors) {
    ASSERT_EQ(tensors.size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(tensors[i].name, Places()[i].name);
      EXPECT_EQ(tensors[i].shape, Places()[i].shape);
      EXPECT_EQ(std::string(tensors[i].bytes.begin(), tensors[i].bytes.end()), BytesOf(i));
    }
  }
  std::size_t FilesInFolder() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
};

TEST_F(GgufWriterTest, TheReaderReadsItBack) {
  auto writer = Create(0);
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  WriteAll(*writer);
  EXPECT_FALSE(fs::exists(folder_ / "m.gguf")) << "nothing is visible before the end";
  ASSERT_TRUE(writer->Commit().ok());
  EXPECT_EQ(fs::file_size(folder_ / "m.gguf"), writer->bytes());
  const auto file = GgufFile::Open(folder_ / "m.gguf");
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->version, 3u);
  ExpectTensors(file->tensors);
  EXPECT_EQ(**file->Find<std::string_view>("general.architecture"), "llama");
  EXPECT_TRUE(**file->Find<bool>("a.flag"));
  EXPECT_EQ(**file->Find<std::int64_t>("a.count"), 8) << "the last value counts";
  EXPECT_EQ(**file->Find<double>("a.real"), 0.5);
  EXPECT_EQ(**file->Find<GgufStrings>("a.words"), (GgufStrings{"x", "", "yz"}));
  EXPECT_EQ((*file->Find<GgufNumbers>("a.types"))->Integer(0), -1);
  EXPECT_EQ((*file->Find<GgufNumbers>("a.scores"))->Number(1), 2);
  EXPECT_EQ((*file->Find<GgufNumbers>("a.flags"))->Integer(2), 1);
}

TEST_F(GgufWriterTest, TheViewIsWhatTheReaderSees) {
  auto writer = Create(0);
  ASSERT_TRUE(writer.ok());
  WriteAll(*writer);
  ASSERT_TRUE(writer->Commit().ok());
  const auto file = GgufFile::Open(folder_ / "m.gguf");
  ASSERT_TRUE(file.ok());
  const GgufPairs pairs = SomePairs();
  const auto view = pairs.View();
  ASSERT_EQ(view.size(), file->metadata.size());
  for (const auto& [key, value] : view) EXPECT_EQ(value.index(), file->metadata.at(key).index()) << key;
}

TEST_F(GgufWriterTest, PartsAreReadAsOneModel) {
  auto writer = Create(32);
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  ASSERT_EQ(writer->files().size(), 3u);
  EXPECT_EQ(writer->files()[1].filename(), "m-00002-of-00003.gguf");
  WriteAll(*writer);
  EXPECT_FALSE(fs::exists(writer->files()[0]));
  ASSERT_TRUE(writer->Commit().ok());
  const auto parts = OpenGgufParts(writer->files()[2]);
  ASSERT_TRUE(parts.ok()) << parts.error().message;
  ExpectTensors(parts->first.tensors);
  EXPECT_TRUE(parts->first.Has("a.words"));
  EXPECT_FALSE(parts->others[0].Has("a.words"));
  EXPECT_EQ(FilesInFolder(), 3u);
}

TEST_F(GgufWriterTest, AnAbandonedWriterLeavesNothing) {
  {
    auto writer = Create(32);
    ASSERT_TRUE(writer.ok());
  }
  EXPECT_EQ(FilesInFolder(), 0u);
}

TEST_F(GgufWriterTest, ReplacesOnlyFilesOfThisProgram) {
  GgufPairs pairs = SomePairs();
  pairs.Set(kGgufProgramKey, std::string("program 1"));
  for (int i = 0; i < 2; ++i) {
    auto writer = GgufWriter::Create(folder_ / "m.gguf", pairs, Places(), 32, true);
    ASSERT_TRUE(writer.ok()) << writer.error().message;
    WriteAll(*writer);
    ASSERT_TRUE(writer->Commit().ok());
  }
  Write("m-00002-of-00003.gguf", "GGUF of another program");
  const auto writer = GgufWriter::Create(folder_ / "m.gguf", pairs, Places(), 32, true);
  ASSERT_FALSE(writer.ok());
  EXPECT_EQ(writer.error().code, ErrorCode::kInput);
  EXPECT_NE(writer.error().message.find("m-00002-of-00003.gguf exists, and this program did not write it"),
            std::string::npos)
      << writer.error().message;
}

TEST_F(GgufWriterTest, Refusals) {
  const auto expect = [&](const Result<GgufWriter>& writer, ErrorCode code, const std::string& part) {
    ASSERT_FALSE(writer.ok()) << part;
    EXPECT_EQ(writer.error().code, code) << writer.error().message;
    EXPECT_NE(writer.error().message.find(part), std::string::npos) << writer.error().message;
  };
  Write("m.gguf", "x");
  expect(Create(0), ErrorCode::kInput, "m.gguf exists; use --overwrite");
  expect(Create(0, true), ErrorCode::kInput, "m.gguf exists, and this program did not write it");
  Write("m-00003-of-00003.gguf", "x");
  expect(Create(32), ErrorCode::kInput, "m-00003-of-00003.gguf exists");
  const auto with = [&](std::vector<GgufPlace> places) {
    return GgufWriter::Create(folder_ / "n.gguf", {}, std::move(places), 0, false);
  };
  expect(with({{"t", DType::kF32, {1}}, {"t", DType::kF32, {1}}}), ErrorCode::kInput,
         "tensor t would be written twice");
  expect(with({{"t", DType::kU8, {1}}}), ErrorCode::kUnsupported, "tensor t is U8");
  expect(with({{"t", DType::kF32, {std::size_t{1} << 50}}}), ErrorCode::kResource, "bytes free, and");
  EXPECT_EQ(FilesInFolder(), 2u) << "a refusal writes nothing";
}

}  // namespace
}  // namespace marlin
