#include "text/gguf_pre_tokenizers.h"

#include <gtest/gtest.h>

#include <sstream>

namespace marlin {
namespace {

std::vector<std::string> WordsOf(std::string_view name, std::string_view text) {
  const GgufPreTokenizer* row = FindGgufPreTokenizer(name);
  EXPECT_NE(row, nullptr) << name;
  const auto split = PreTokenizer::Create(row->steps(), PreTokenizer::Bytes::kSpelled);
  EXPECT_TRUE(split.ok()) << name << ": " << (split.ok() ? "" : split.error().message);
  Regex::Workspace workspace;
  std::deque<std::string> kept;
  std::vector<std::string_view> words;
  EXPECT_TRUE(split->Split(text, true, workspace, kept, words).ok()) << name;
  return {words.begin(), words.end()};
}

TEST(GgufPreTokenizers, EveryRowDividesTextWithoutLosingAny) {
  std::istringstream names(GgufPreTokenizerNames());
  int rows = 0;
  for (std::string name; std::getline(names, name, ',');) {
    name.erase(0, name.find_first_not_of(' '));
    std::string together;
    for (const std::string& word : WordsOf(name, "It's 12345 \u00e9t\u00e9!\n\n  \u4e2d\u6587 x_y </s>\t\r\n"))
      together += word;
    const std::string all =
        "It's\u012012345\u0120\u00c3\u00a9t\u00c3\u00a9!\u010a\u010a\u0120\u0120\u00e4\u00b8\u0143\u00e6"
        "\u0138\u0129\u0120x_y\u0120</s>\u0109\u010d\u010a";
    EXPECT_EQ(together, all) << name;
    ++rows;
  }
  EXPECT_GE(rows, 70);
}

TEST(GgufPreTokenizers, Samples) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(WordsOf("llama-bpe", "I'LL 12345"), (Words{"I", "'LL", "\u0120", "123", "45"}));
  EXPECT_EQ(WordsOf("qwen2", "a 12"), (Words{"a", "\u0120", "1", "2"}));
  EXPECT_EQ(WordsOf("gpt-4o", "camelCase's"), (Words{"camel", "Case's"}));
  EXPECT_EQ(WordsOf("tekken", "camelCase's"), (Words{"camel", "Case", "'s"}));
  EXPECT_EQ(WordsOf("deepseek-v3", "a1234"), (Words{"a", "123", "4"}));
  EXPECT_EQ(WordsOf("smollm", "v10 a"), (Words{"v", "1", "0", "\u0120a"}));
  EXPECT_EQ(WordsOf("superbpe", "1234567"), (Words{"1", "234", "567"}));
  EXPECT_EQ(WordsOf("falcon", "(1234)"), (Words{"(", "123", "4", ")"}));
  EXPECT_EQ(FindGgufPreTokenizer("kimi-k2"), nullptr);
}

}  // namespace
}  // namespace marlin
