#include "text/tokenizer_to_gguf.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "text/byte_alphabet.h"
#include "text/gguf_pre_tokenizers.h"
#include "text/tokenizer.h"
#include "text/tokenizer_gguf.h"

namespace marlin {
namespace {
using nlohmann::json;

// Every byte, "ab", " ab", a special token and an added one.
json ByteLevelJson() {
  json vocab = json::object();
  for (int byte = 0; byte < 256; ++byte) vocab[ToByteAlphabet(std::string(1, static_cast<char>(byte)))] = byte;
  vocab["ab"] = 256;
  vocab["\u0120ab"] = 257;
  const auto added = [](int id, const char* content, bool special) {
    return json{{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", special}};
  };
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", {added(258, "<s>", true), added(259, "<t>", false)}},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"a b", "\u0120 ab"}}}}};
}

// Characters, with merges in the order of scores and tokens for two bytes.
json CharacterJson() {
  json file = ByteLevelJson();
  file["added_tokens"] = json::array();
  file["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}};
  file["pre_tokenizer"] = nullptr;
  file["decoder"] = nullptr;
  file["model"] = {
      {"type", "BPE"},
      {"vocab",
       {{"<unk>", 0}, {"a", 1}, {"b", 2}, {"\u2581", 3}, {"ab", 4}, {"\u2581ab", 5}, {"<0xC3>", 6}, {"<0xA9>", 7}}},
      {"merges", {"a b", "\u2581 ab"}},
      {"unk_token", "<unk>"},
      {"fuse_unk", true},
      {"byte_fallback", true}};
  return file;
}

Tokenizer Read(const json& file, const json& config = json::object()) {
  auto tokenizer = Tokenizer::FromHuggingFace(file.dump(), config.dump(), "t");
  EXPECT_TRUE(tokenizer.ok()) << (tokenizer.ok() ? "" : tokenizer.error().message);
  return *std::move(tokenizer);
}

struct Exported {
  GgufPairs pairs;
  std::vector<std::string> notes;
};

Result<Exported> Export(const Tokenizer& tokenizer, const GgufTokenizerOptions& options) {
  Exported out;
  const auto status = AddTokenizer(tokenizer.spec(), options, "here", out.pairs, out.notes);
  if (!status) return status.error();
  return out;
}

void ExpectSame(const Tokenizer& own, const GgufTokenizerOptions& options, const std::string& model) {
  const auto exported = Export(own, options);
  ASSERT_TRUE(exported.ok()) << exported.error().message;
  const GgufFile file = GgufFile::InMemory("x.gguf", exported->pairs.View(), {});
  EXPECT_EQ(*file.Require<std::string_view>("tokenizer.ggml.model"), model);
  const auto read = Tokenizer::FromGguf(file);
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->vocab_size(), options.rows);
  for (const bool special : {false, true}) {
    const std::string text = "ab ab b <s>a<t> ab\u00e9ab";
    EXPECT_EQ(*read->Encode(text, special), *own.Encode(text, special)) << model << " " << special;
  }
  EXPECT_EQ(read->adds_bos(), own.adds_bos());
}

TEST(TokenizerToGguf, ByteLevelWithPaddedRows) {
  const Tokenizer own = Read(ByteLevelJson(), {{"add_bos_token", true}, {"bos_token", "<s>"}});
  ExpectSame(own, {264, {259, 258}, "{{ x }}", false}, "gpt2");
  const auto exported = Export(own, {264, {259, 258}, "{{ x }}", false});
  ASSERT_TRUE(exported.ok());
  const auto view = exported->pairs.View();
  EXPECT_EQ(std::get<std::string_view>(view.at("tokenizer.ggml.pre")), "gpt-2");
  EXPECT_EQ(std::get<GgufStrings>(view.at("tokenizer.ggml.tokens"))[262], "[PAD262]");
  const auto& types = std::get<GgufNumbers>(view.at("tokenizer.ggml.token_type"));
  EXPECT_EQ(types.Integer(0), 1);
  EXPECT_EQ(types.Integer(258), 3);
  EXPECT_EQ(types.Integer(259), 4);
  EXPECT_EQ(types.Integer(262), 5);
  EXPECT_EQ(std::get<std::int64_t>(view.at("tokenizer.ggml.eos_token_id")), 259);
  EXPECT_EQ(std::get<std::int64_t>(view.at("tokenizer.ggml.eot_token_id")), 258);
  EXPECT_EQ(std::get<std::string_view>(view.at("tokenizer.chat_template")), "{{ x }}");
}

TEST(TokenizerToGguf, CharactersAsScoresOrMerges) {
  json file = CharacterJson();
  ExpectSame(Read(file), {10, {}, "", false}, "llama");
  ExpectSame(Read(file), {8, {}, "", true}, "gemma4");
  file["normalizer"] = {{"type", "Sequence"},
                        {"normalizers", {{{"type", "Prepend"}, {"prepend", "\u2581"}}, file["normalizer"]}}};
  ExpectSame(Read(file), {8, {}, "", false}, "llama");
}

TEST(TokenizerToGguf, EveryRowOfPreTokenizersIsFoundAgain) {
  for (const char* name :
       {"gpt-2", "smollm", "qwen2", "qwen35", "llama-bpe", "glm4", "deepseek-llm", "tekken", "gpt-4o"}) {
    const GgufPreTokenizer* const row = FindGgufPreTokenizer(name);
    ASSERT_NE(row, nullptr);
    const GgufPreTokenizer* const found = FindGgufPreTokenizer(row->steps(), row->nfc, row->ignore_merges);
    ASSERT_NE(found, nullptr) << name;
    EXPECT_EQ(found->steps, row->steps) << name;
  }
  EXPECT_EQ(FindGgufPreTokenizer({DigitsStep{false}}, false, false), nullptr);
}

TEST(TokenizerToGguf, Refusals) {
  const auto expect = [](const json& file, std::size_t rows, const std::string& part) {
    const auto exported = Export(Read(file), {rows, {}, "", false});
    ASSERT_FALSE(exported.ok()) << part;
    EXPECT_EQ(exported.error().code, ErrorCode::kUnsupported);
    EXPECT_NE(exported.error().message.find(part), std::string::npos) << exported.error().message;
  };
  expect(ByteLevelJson(), 259, "its tokenizer has 260 tokens and its embedding 259 rows");
  json file = ByteLevelJson();
  file["normalizer"] = {{"type", "Lowercase"}};
  expect(file, 260, "another one than NFC");
  file = ByteLevelJson();
  file["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"Regex", "x+"}}}, {"behavior", "Isolated"}, {"invert", false}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  expect(file, 260, "(\"x+\") is none of gpt-2");
  file = CharacterJson();
  file["normalizer"] = {{"type", "Lowercase"}};
  expect(file, 8, "does more than to mark spaces");
}

}  // namespace
}  // namespace marlin
