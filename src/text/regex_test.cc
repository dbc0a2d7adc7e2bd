#include "text/regex.h"

#include <gtest/gtest.h>

#include "text/pre_tokenizer.h"

namespace marlin {
namespace {

std::vector<std::string> Matches(std::string_view pattern, const std::string& text) {
  const auto regex = Regex::Compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.error().message;
  if (!regex) return {};
  Regex::Workspace workspace;
  std::vector<TextRange> ranges;
  EXPECT_TRUE(regex->FindAll(text, workspace, ranges).ok());
  std::vector<std::string> matches;
  for (const TextRange& range : ranges) matches.push_back(text.substr(range.begin, range.end - range.begin));
  return matches;
}

using Strings = std::vector<std::string>;

TEST(Regex, SpaceIsWhiteSpaceOnly) {
  EXPECT_EQ(Matches(R"(\s)", "a\u180e\u00a0\u3000\u200b\u0085"), (Strings{"\u00a0", "\u3000", "\u0085"}));
  EXPECT_EQ(Matches(R"([^\s]+)", "a\u180e b"), (Strings{"a\u180e", "b"}));
  EXPECT_EQ(Matches(R"(\s+(?!\S))", "a   b  "), (Strings{"  ", "  "}));
}

TEST(Regex, CaselessFoldsAsOniguruma) {
  EXPECT_EQ(Matches("(?i:'s|k)", "'S '\u017f \u212a K S"), (Strings{"'S", "'\u017f", "\u212a", "K"}));
}

TEST(Regex, KnowsScriptsNewerThanThePcre) {
  // Letters of Unicode 15 and 16 and a digit of 16; by name, within a class, and negated.
  EXPECT_EQ(Matches(R"(\p{L}+)", "\U00031350\U000105c0 x"), (Strings{"\U00031350\U000105c0", "x"}));
  EXPECT_EQ(Matches(R"([^\s\p{L}\p{N}]+)", "\U00031350!\U00010d40?"), (Strings{"!", "?"}));
  EXPECT_EQ(Matches(R"(\P{L}|\d)", "\U00031350\U00010d40"), (Strings{"\U00010d40"}));
  EXPECT_EQ(Matches(R"(\p{Lu})", "\U00031350A"), (Strings{"A"}));
}

TEST(Regex, EmptyMatchesAsOniguruma) {
  EXPECT_EQ(Matches("x*", "axxb\u00e9"), (Strings{"", "xx", "", ""}));
  EXPECT_EQ(Matches("", ""), (Strings{""}));
}

TEST(Regex, RubySpellings) {
  EXPECT_EQ(Matches("a{,2}b", "aaab"), (Strings{"aab"}));
  EXPECT_EQ(Matches("a{b", "a{b"), (Strings{"a{b"}));
  EXPECT_EQ(Matches("^b$", "a\nb\nc"), (Strings{"b"}));
  EXPECT_EQ(Matches(R"(\x41\x{4e2d}\u0042)",
                    "A\u4e2d"
                    "B"),
            (Strings{"A\u4e2d"
                     "B"}));
  EXPECT_EQ(Matches(R"([\-\]\[一-龥]+)", "-[]中x"), (Strings{"-[]中"}));
}

TEST(Regex, EscapedStringsMatchThemselves) {
  const std::string odd = R"(a.b*[c]{2}(d)|\e^$-&# é)";
  EXPECT_EQ(Matches(EscapeRegex(odd), "x" + odd + odd), (Strings{odd, odd}));
}

TEST(Regex, RefusesWhatWouldMeanSomethingElse) {
  for (const std::string pattern :
       {R"(\w+)",      R"(\bfoo)",       R"(\h)",          R"(\R)",         R"(\X)",      R"(\1)",
        R"((a)\k<1>)", R"([a-z&&[^b]])", R"([[:alpha:]])", R"([a\P{L}])",   R"(\p{Han})", R"(\p{Alpha})",
        R"(\pL)",      R"(a{1,2}+)",     R"(a{2}?)",       R"((?<name>a))", R"((?m)a)",   R"(a(?i)b)",
        R"((*FAIL))",  R"((?i:ss))",     R"((?i:é))",      R"([]a])",       R"(\xff)",    R"(\)",
        R"([a)",       R"(\p{L)",        R"((?R))",        R"((?C1))",      R"(\Qa\E)",   R"(\o{101})"}) {
    const auto regex = Regex::Compile(pattern);
    ASSERT_FALSE(regex.ok()) << pattern;
    EXPECT_EQ(regex.error().code, ErrorCode::kUnsupported) << pattern;
    EXPECT_NE(regex.error().message.find(pattern), std::string::npos) << regex.error().message;
  }
}

TEST(Regex, BrokenExpressionsAreErrors) {
  for (const std::string pattern : {"(", "a)", "*", "(?:a", "[z-a]", R"(\x{110000})"}) {
    const auto regex = Regex::Compile(pattern);
    ASSERT_FALSE(regex.ok()) << pattern;
    EXPECT_EQ(regex.error().code, ErrorCode::kInput) << pattern;
  }
  EXPECT_FALSE(Regex::Compile(std::string(1 << 20, 'a')).ok());
  EXPECT_FALSE(Regex::Compile(std::string(20'000, '(') + std::string(20'000, ')')).ok());
}

// Exponential backtracking ends in an error, not in a hang.
TEST(Regex, GivesUpOnExplosions) {
  const auto regex = Regex::Compile("(?:a|a|aa)+(?:b|c)d");
  ASSERT_TRUE(regex.ok()) << regex.error().message;
  Regex::Workspace workspace;
  std::vector<TextRange> matches;
  const Status status = regex->FindAll(std::string(2000, 'a') + "xd", workspace, matches);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kUnsupported);
}

TEST(PreTokenizer, MillionsOfSpacesInOneRun) {
  const std::string qwen2 = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
                            R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const auto split = PreTokenizer::Create({SplitStep{qwen2}, ByteLevelStep{false, false}}, PreTokenizer::Bytes::kRaw);
  ASSERT_TRUE(split.ok()) << split.error().message;
  const std::string text = std::string(4'000'000, ' ') + "x";
  Regex::Workspace workspace;
  std::deque<std::string> kept;
  std::vector<std::string_view> words;
  ASSERT_TRUE(split->Split(text, true, workspace, kept, words).ok());
  ASSERT_EQ(words.size(), 2u);
  EXPECT_EQ(words[1], " x");
}

TEST(PreTokenizer, RawBytesWantByteLevelLast) {
  for (const auto& steps : std::vector<std::vector<PreTokenizerStep>>{
           {}, {DigitsStep{true}}, {ByteLevelStep{}, DigitsStep{true}}, {ByteLevelStep{}, ByteLevelStep{}}}) {
    const auto split = PreTokenizer::Create(steps, PreTokenizer::Bytes::kRaw);
    ASSERT_FALSE(split.ok());
    EXPECT_EQ(split.error().code, ErrorCode::kUnsupported);
    EXPECT_TRUE(PreTokenizer::Create(steps, PreTokenizer::Bytes::kSpelled).ok());
  }
}

}  // namespace
}  // namespace marlin
