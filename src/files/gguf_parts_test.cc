// Models in several GGUF files.
#include "files/gguf_parts.h"

#include <fmt/format.h>

#include "files/test_files.h"

namespace marlin {
namespace {

class GgufPartsTest : public TemporaryFolder {
 protected:
  // Part `number` of `count`, with one tensor; `says` is the number that it gives itself.
  std::string Part(std::size_t number, std::size_t count, std::size_t says, std::size_t tensors) const {
    GgufBuilder builder;
    if (number == 1) builder.Text("general.architecture", "llama");
    builder.Pair("split.count", GgufType::kU16, Raw(static_cast<std::uint16_t>(count)))
        .Pair("split.no", GgufType::kU16, Raw(static_cast<std::uint16_t>(says - 1)))
        .Pair("split.tensors.count", GgufType::kI32, Raw(static_cast<std::int32_t>(tensors)));
    builder.Tensor(fmt::format("t{}", number), {4}, 0, std::string(16, static_cast<char>(number)));
    return builder.Bytes();
  }
  std::filesystem::path WritePart(std::size_t number, std::size_t says, std::size_t tensors = 3) {
    return Write(fmt::format("m-{:05}-of-00003.gguf", number), Part(number, 3, says, tensors));
  }
};

TEST_F(GgufPartsTest, AnyPartOpensTheWhole) {
  for (std::size_t i = 1; i <= 3; ++i) WritePart(i, i);
  for (const char* name : {"m-00001-of-00003.gguf", "m-00003-of-00003.gguf"}) {
    const auto parts = OpenGgufParts(folder_ / name);
    ASSERT_TRUE(parts.ok()) << parts.error().message;
    EXPECT_EQ(parts->first.file.path().filename(), "m-00001-of-00003.gguf");
    EXPECT_TRUE(parts->first.Has("general.architecture"));
    ASSERT_EQ(parts->first.tensors.size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(parts->first.tensors[i].name, fmt::format("t{}", i + 1));
      EXPECT_EQ(parts->first.tensors[i].bytes[0], i + 1);
    }
  }
  EXPECT_EQ(GgufModelName("a/m-00001-of-00003.gguf"), "m");
  EXPECT_EQ(GgufModelName("a/m-1-of-3.gguf"), "m-1-of-3");
}

TEST_F(GgufPartsTest, WhatIsMissingIsNamed) {
  const auto error = [&](const std::filesystem::path& path, const std::string& part) {
    const auto parts = OpenGgufParts(path);
    ASSERT_FALSE(parts.ok()) << part;
    EXPECT_EQ(parts.error().code, ErrorCode::kInput);
    EXPECT_NE(parts.error().message.find(part), std::string::npos) << parts.error().message;
  };
  const auto first = WritePart(1, 1);
  WritePart(3, 3);
  error(first, "m-00002-of-00003.gguf: this part of the model is missing; it has 3 parts");
  WritePart(2, 3);
  error(first, "this file says that it is part 3 of 3, and its name says 2 of 3");
  WritePart(2, 2, 7);
  WritePart(1, 1, 7);
  error(first, "the parts hold 3 tensors, want 7");
  error(Write("alone.gguf", Part(1, 3, 1, 3)), "want a name such as alone-00001-of-00003.gguf");
}

}  // namespace
}  // namespace marlin
