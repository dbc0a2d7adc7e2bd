#include "report/labels.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"

namespace marlin {
namespace {

constexpr Box kArea = {72, 54, 784, 448};

std::vector<Box> MarksOf(const std::vector<LabelRequest>& requests) {
  std::vector<Box> marks;
  for (const LabelRequest& r : requests) marks.push_back({r.x - 7, r.y - 7, r.x + 7, r.y + 7});
  return marks;
}

void ExpectApart(const std::vector<PlacedLabel>& placed) {
  for (std::size_t i = 0; i < placed.size(); ++i) {
    EXPECT_GE(placed[i].box.left, kArea.left - 1e-9);
    EXPECT_LE(placed[i].box.right, kArea.right + 1e-9);
    EXPECT_GE(placed[i].box.bottom, kArea.bottom - 1e-9);
    EXPECT_LE(placed[i].box.top, kArea.top + 1e-9);
    for (std::size_t j = 0; j < i; ++j) EXPECT_EQ(OverlapArea(placed[i].box, placed[j].box), 0) << i << " and " << j;
  }
}

TEST(Labels, OverlapIsTheSharedArea) {
  EXPECT_EQ(OverlapArea({0, 0, 2, 2}, {1, 1, 3, 3}), 1);
  EXPECT_EQ(OverlapArea({0, 0, 2, 2}, {2, 0, 3, 3}), 0);
  EXPECT_EQ(OverlapArea({0, 0, 2, 2}, {5, 5, 6, 6}), 0);
}

TEST(Labels, ALonePointHasItsLabelBesideIt) {
  const std::vector<LabelRequest> requests = {{400, 250, 120, 15}};
  const std::vector<PlacedLabel> placed = PlaceLabels(requests, kArea, MarksOf(requests));
  ASSERT_EQ(placed.size(), 1u);
  EXPECT_FALSE(placed[0].leader);
  EXPECT_EQ(OverlapArea(placed[0].box, MarksOf(requests)[0]), 0);
}

TEST(Labels, PointsInTheCornersStayInside) {
  const std::vector<LabelRequest> requests = {
      {kArea.left, kArea.bottom, 150, 15}, {kArea.right, kArea.top, 150, 15}, {kArea.left, kArea.top, 150, 15}};
  ExpectApart(PlaceLabels(requests, kArea, MarksOf(requests)));
}

TEST(Labels, CrowdsComeApart) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Rng rng(seed);
    std::vector<LabelRequest> requests;
    for (int i = 0; i < 14; ++i) {
      requests.push_back({400 + 60 * rng.Normal(), 250 + 40 * rng.Normal(), 130 + 30 * rng.Uniform(), 15});
    }
    ExpectApart(PlaceLabels(requests, kArea, MarksOf(requests)));
  }
}

TEST(Labels, PointsOnOneSpotComeApart) {
  const std::vector<LabelRequest> requests(8, {400, 250, 140, 15});
  const std::vector<PlacedLabel> placed = PlaceLabels(requests, kArea, MarksOf(requests));
  ExpectApart(placed);
  EXPECT_TRUE(placed.back().leader || placed.front().leader);
}

TEST(Labels, SameInputSamePlaces) {
  const std::vector<LabelRequest> requests = {{300, 200, 100, 15}, {310, 205, 100, 15}, {305, 195, 100, 15}};
  const auto a = PlaceLabels(requests, kArea, MarksOf(requests));
  const auto b = PlaceLabels(requests, kArea, MarksOf(requests));
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].box.left, b[i].box.left);
    EXPECT_EQ(a[i].box.top, b[i].box.top);
  }
}

TEST(Labels, WidthGrowsWithTheTextAndCountsCharactersNotBytes) {
  EXPECT_GT(TextWidth("fp4-g128", 12), TextWidth("fp4-g32", 12));
  EXPECT_EQ(TextWidth("\u00e4", 12), 12);
  EXPECT_EQ(TextWidth("", 12), 0);
}

}  // namespace
}  // namespace marlin
