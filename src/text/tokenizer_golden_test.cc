// Compares this program's ids with those of Hugging Face tokenizers (tools/make_tokenizer_golden.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "files/checkpoint.h"
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

Result<Tokenizer> LoadFile(const std::filesystem::path& path) {
  Checkpoint checkpoint;
  checkpoint.path = path;
  if (path.extension() == ".gguf") checkpoint.container = Container::kGguf;
  return Tokenizer::FromCheckpoint(checkpoint);
}

// The shortest time of five, of one thread.
double SecondsOf(const Tokenizer& tokenizer, const std::string& text) {
  double shortest = 1e9;
  for (int i = 0; i < 5; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const auto ids = tokenizer.Encode(text);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    EXPECT_TRUE(ids.ok());
    shortest = std::min(shortest, taken.count());
  }
  return shortest;
}

// For tools/check_tokenizer.py, which compares what this writes with other programs: the ids of the texts of the folder
// METAL_MARLIN_TOKENIZER_CHECK, one line a text, each tokenizer as tokenizer.json, and the time that one text takes.
TEST(TokenizerCheck, WritesTheIdsOfGivenFiles) {
  const char* named = std::getenv("METAL_MARLIN_TOKENIZER_CHECK");
  if (named == nullptr)
    GTEST_SKIP() << "METAL_MARLIN_TOKENIZER_CHECK does not name a folder of tools/check_tokenizer.py";
  const std::filesystem::path folder = named;
  const auto text = ReadFile(folder / "check.json");
  ASSERT_TRUE(text.ok()) << text.error().message;
  const json check = json::parse(*text);
  for (std::size_t i = 0; i < check["files"].size(); ++i) {
    const auto tokenizer = LoadFile(check["files"][i].get<std::string>());
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    std::string lines;
    for (const bool special : {false, true}) {
      for (const json& given : check["texts"]) {
        const auto ids = tokenizer->Encode(given.get_ref<const std::string&>(), special);
        ASSERT_TRUE(ids.ok()) << ids.error().message;
        for (const std::int32_t id : *ids) lines += std::to_string(id) + " ";
        lines += "\n";
      }
    }
    ASSERT_TRUE(WriteFileAtomic(folder / (std::to_string(i) + ".ids"), lines).ok());
    const auto seconds = SecondsOf(*tokenizer, check["texts"][check["timed"].get<std::size_t>()].get<std::string>());
    ASSERT_TRUE(WriteFileAtomic(folder / (std::to_string(i) + ".seconds"), std::to_string(seconds)).ok());
    ASSERT_TRUE(WriteFileAtomic(folder / (std::to_string(i) + ".json"), tokenizer->ToHuggingFaceJson()).ok());
  }
}

}  // namespace
}  // namespace marlin
