#include "text/text_overlap.h"

#include <gtest/gtest.h>

#include <string>

#include "base/rng.h"

namespace marlin {
namespace {

std::string Words(std::size_t count, std::uint64_t seed) {
  Rng rng(seed);
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += "w" + std::to_string(rng.Below(5000)) + (i % 9 == 8 ? "\n" : " ");
  return text;
}

TEST(TextOverlap, NothingAndEverything) {
  const std::string a = Words(2000, 1);
  EXPECT_EQ(TextOverlap(a, a), 1);
  EXPECT_EQ(TextOverlap(a, Words(2000, 2)), 0);
  EXPECT_EQ(TextOverlap(a, ""), 0);
  EXPECT_EQ(TextOverlap("twelve words are too few for a run of thirteen of them all", a), 0);
}

TEST(TextOverlap, CountsRunsOfThirteenWords) {
  // 100 words of the 2000 are in the other text: 100 - 12 of its 2000 - 12 runs.
  const std::string shared = Words(100, 3);
  const std::string a = Words(950, 4) + shared + Words(950, 5);
  const std::string b = Words(3950, 6) + shared + Words(3950, 7);
  EXPECT_NEAR(TextOverlap(a, b), 88.0 / 1988.0, 1e-12);
  EXPECT_EQ(TextOverlap(a, b), TextOverlap(b, a));
}

TEST(TextOverlap, ASmallPieceOfALargeTextIsAllShared) {
  const std::string large = Words(5000, 8);
  EXPECT_EQ(TextOverlap(large, large.substr(100, 700)) > 0.9, true) << "its first and last word are cut";
}

TEST(TextOverlap, WhiteSpaceDoesNotHideAnything) {
  const std::string a = Words(500, 9);
  std::string b;
  for (const char c : a) b += c == ' ' ? std::string("\n\n\t") : std::string(1, c);
  EXPECT_EQ(TextOverlap(a, b), 1);
}

}  // namespace
}  // namespace marlin
