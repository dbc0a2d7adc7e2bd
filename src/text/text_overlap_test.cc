#include "text/text_overlap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/rng.h"
#include "text/eval_text.h"

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

TEST(TextOverlap, ASketchEstimatesIt) {
  const std::string shared = Words(20'000, 10);
  const std::string a = Words(100'000, 11) + shared;
  const std::string b = shared + Words(400'000, 12);
  EXPECT_NEAR(OverlapWithSketch(a, OverlapSketch(b)), TextOverlap(a, b), 0.05);
  EXPECT_EQ(OverlapWithSketch(a, OverlapSketch(a)), 1);
  EXPECT_EQ(OverlapWithSketch(shared.substr(0, 20'000), OverlapSketch(a)), 1);
  EXPECT_EQ(OverlapWithSketch(a, OverlapSketch(Words(100'000, 13))), 0);
}

TEST(TextOverlap, TheSketchOfWikiText2IsThatOfTheText) {
  const auto sketch = WikiText2TestSketch();
  ASSERT_TRUE(std::is_sorted(sketch.begin(), sketch.end()));
  const char* const data = std::getenv("METAL_MARLIN_DATA");
  const auto text = OpenEvalText(std::filesystem::path(data == nullptr ? "" : data) / "wikitext-2-raw/wiki.test.raw");
  if (!text || !text->is_standard) GTEST_SKIP() << "METAL_MARLIN_DATA does not hold wikitext-2-raw/wiki.test.raw";
  EXPECT_EQ(OverlapSketch(text->text), std::vector<std::uint64_t>(sketch.begin(), sketch.end()));
}

}  // namespace
}  // namespace marlin
