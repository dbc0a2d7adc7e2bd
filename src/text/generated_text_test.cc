#include "text/generated_text.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/rng.h"
#include "text/unicode.h"

namespace marlin {
namespace {

std::string AllOf(const std::vector<std::string>& pieces, const std::vector<std::string>& stops = {}) {
  GeneratedText text(stops);
  std::string all;
  for (const std::string& piece : pieces) {
    all += text.Add(piece);
    EXPECT_FALSE(FindInvalidUtf8(all)) << "only whole characters are given out";
  }
  return all + text.Finish();
}

TEST(GeneratedText, HoldsBackTheBeginOfACharacter) {
  GeneratedText text({});
  EXPECT_EQ(text.Add("a\xf0\x9f"), "a");
  EXPECT_EQ(text.Add("\x90"), "");
  EXPECT_EQ(text.Add("\x9f!"), "\xf0\x9f\x90\x9f!");
  EXPECT_EQ(text.Finish(), "");
}

// The expected texts are those of Python's bytes.decode("utf-8", "replace").
TEST(GeneratedText, ReplacesWhatIsNoUtf8) {
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(AllOf({"a\xf0\x9f"}), "a" + r) << "the text ends inside a character";
  EXPECT_EQ(AllOf({"\xc3", "x"}), r + "x");
  EXPECT_EQ(AllOf({"\x80\xbf"}), r + r);
  EXPECT_EQ(AllOf({"\xc0\xaf"}), r + r) << "overlong";
  EXPECT_EQ(AllOf({"\xed\xa0\x80"}), r + r + r) << "a surrogate";
  EXPECT_EQ(AllOf({"\xf4\x90\x80\x80"}), r + r + r + r) << "beyond U+10FFFF";
  EXPECT_EQ(AllOf({"\xf0\x9f\x90", "\xc3\xa9"}), r + "\xc3\xa9");
  EXPECT_EQ(AllOf({"\xe2\x82", "\xe2\x82\xac"}), r + "\xe2\x82\xac");
  EXPECT_EQ(AllOf({"\xff"}), r);
}

TEST(GeneratedText, StopStringsSpanPieces) {
  GeneratedText text({"</s>", "\n\n"});
  EXPECT_EQ(text.Add("one <"), "one ");
  EXPECT_EQ(text.Add("/"), "");
  EXPECT_EQ(text.Add("b> two\n"), "</b> two");
  EXPECT_EQ(text.Add("three</"), "\nthree");
  EXPECT_FALSE(text.stopped());
  EXPECT_EQ(text.Add("s> four"), "");
  EXPECT_TRUE(text.stopped());
  EXPECT_EQ(text.Add("more"), "");
  EXPECT_EQ(text.Finish(), "");
}

TEST(GeneratedText, WhatIsHeldBackIsGivenOutAtTheEnd) {
  EXPECT_EQ(AllOf({"one </s"}, {"</s>"}), "one </s");
  EXPECT_EQ(AllOf({"aab"}, {"aab"}), "");
  EXPECT_EQ(AllOf({"aa", "aab"}, {"aab"}), "aa") << "the begin of the stop string repeats";
  EXPECT_EQ(AllOf({"x\xc3"}, {"\xef\xbf\xbd"}), "x") << "a stop string may hold the replacement";
}

TEST(GeneratedText, TheStopStringThatEndsFirstCounts) {
  EXPECT_EQ(AllOf({"abcd"}, {"abcd", "bc"}), "a");
  EXPECT_EQ(AllOf({"abcd"}, {"bc", "abc"}), "") << "of those that end together the longest";
}

TEST(GeneratedText, TheDivisionIntoPiecesChangesNothing) {
  const std::vector<std::string> letters = {"a", "b", "\xc3\xa9", "\xf0\x9f\x90\x9f", "\xf0\x9f", "\x80", "\n"};
  const std::vector<std::string> stops = {"ab\xc3\xa9", "ba\nb", "\xf0\x9f\x90\x9f\xf0\x9f\x90\x9f"};
  Rng rng(5);
  int stopped = 0;
  for (int round = 0; round < 300; ++round) {
    std::string all;
    for (int i = 0; i < 40; ++i) all += letters[rng.Below(letters.size())];
    std::vector<std::string> pieces;
    for (std::size_t at = 0; at < all.size();) {
      const std::size_t size = 1 + rng.Below(5);
      pieces.push_back(all.substr(at, size));
      at += size;
    }
    const std::string whole = AllOf({all}, stops);
    EXPECT_EQ(AllOf(pieces, stops), whole);
    for (const std::string& stop : stops) EXPECT_EQ(whole.find(stop), std::string::npos);
    stopped += whole.size() < AllOf({all}).size() ? 1 : 0;
  }
  EXPECT_GT(stopped, 20);
}

}  // namespace
}  // namespace marlin
