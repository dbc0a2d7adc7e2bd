// Compares this program's ids with those of Hugging Face tokenizers (tools/make_tokenizer_golden.py).
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "text/tokenizer.h"

namespace marlin {
namespace {
using nlohmann::json;

std::filesystem::path GoldenFile(const char* name = "tokenizer_golden.json") {
  const char* other = std::getenv("METAL_MARLIN_TOKENIZER_GOLDEN");
  const auto folder = other != nullptr ? other : std::filesystem::path(MARLIN_SOURCE_DIR) / "src/text/testdata";
  return folder / name;
}

json AsStrings(json merges) {
  for (json& merge : merges) merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  return merges;
}

// Every second case spells its merges as strings.
std::string TokenizerJson(const json& model, const json& test_case, bool merges_as_strings) {
  json tokenizer = test_case["tokenizer"];
  tokenizer["model"] = model;
  tokenizer["model"]["ignore_merges"] = test_case["ignore_merges"];
  if (merges_as_strings) tokenizer["model"]["merges"] = AsStrings(model["merges"]);
  return tokenizer.dump();
}

TEST(TokenizerGolden, EqualsHuggingFace) {
  const auto text = ReadFile(GoldenFile());
  ASSERT_TRUE(text.ok()) << text.error().message;
  const json golden = json::parse(*text);
  ASSERT_GE(golden["cases"].size(), 7u);
  bool merges_as_strings = false;
  for (const json& test_case : golden["cases"]) {
    const auto name = test_case["name"].get<std::string>();
    const auto tokenizer =
        Tokenizer::FromHuggingFace(TokenizerJson(golden["model"], test_case, merges_as_strings), "", name);
    merges_as_strings = !merges_as_strings;
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    ASSERT_GE(test_case["strings"].size(), 10u);
    for (const json& pair : test_case["strings"]) {
      const auto ids = tokenizer->Encode(pair[0].get<std::string>());
      ASSERT_TRUE(ids.ok()) << ids.error().message;
      EXPECT_EQ(*ids, pair[1].get<std::vector<std::int32_t>>()) << name << ": " << pair[0].dump(-1, ' ', true);
    }
  }
}

TEST(TokenizerGolden, StepsEqualHuggingFace) {
  const auto text = ReadFile(GoldenFile("tokenizer_steps.json"));
  ASSERT_TRUE(text.ok()) << text.error().message;
  const json golden = json::parse(*text);
  ASSERT_GE(golden["cases"].size(), 20u);
  for (const json& test_case : golden["cases"]) {
    const auto name = test_case["name"].get<std::string>();
    json file = test_case["tokenizer"];
    file["model"] = golden["models"][test_case["model"].get<std::string>()];
    file["model"].update(test_case["options"]);
    const auto tokenizer = Tokenizer::FromHuggingFace(file.dump(), "", name);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    ASSERT_GE(test_case["strings"].size(), 6u);
    for (const json& pair : test_case["strings"]) {
      const auto ids = tokenizer->Encode(pair[0].get<std::string>(), test_case["special"].get<bool>());
      ASSERT_TRUE(ids.ok()) << ids.error().message;
      EXPECT_EQ(*ids, pair[1].get<std::vector<std::int32_t>>()) << name << ": " << pair[0].dump(-1, ' ', true);
    }
  }
}

TEST(TokenizerGolden, DecodeGivesTheTextBack) {
  const auto text = ReadFile(GoldenFile());
  ASSERT_TRUE(text.ok()) << text.error().message;
  const json golden = json::parse(*text);
  const auto tokenizer =
      Tokenizer::FromHuggingFace(TokenizerJson(golden["model"], golden["cases"][0], false), "", "gpt2");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  for (const json& pair : golden["cases"][0]["strings"]) {
    EXPECT_EQ(tokenizer->Decode(pair[1].get<std::vector<std::int32_t>>()), pair[0].get<std::string>());
  }
}

}  // namespace
}  // namespace marlin
