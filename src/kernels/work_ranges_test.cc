#include "kernels/work_ranges.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/thread_pool.h"

namespace marlin {
namespace {

TEST(WorkRanges, GivesEveryPieceOnce) {
  constexpr int kThreads = 4;
  ThreadPool pool(kThreads);
  WorkRanges ranges(kThreads);
  for (const std::size_t pieces : {0, 1, 3, 4, 5, 1000}) {
    for (int round = 0; round < 20; ++round) {
      std::vector<int> taken(pieces, 0);  // each is written by one thread, if the promise holds
      ranges.Start(pieces);
      pool.Run([&](int thread) {
        while (const auto piece = ranges.Next(static_cast<std::size_t>(thread))) ++taken[*piece];
      });
      ASSERT_EQ(taken, std::vector<int>(pieces, 1));
    }
  }
}

TEST(WorkRanges, AThreadReadsOnwardsAndHelpsFromTheEnd) {
  WorkRanges ranges(2);
  ranges.Start(8);
  EXPECT_EQ(ranges.Next(0), 0u);
  EXPECT_EQ(ranges.Next(0), 1u);
  EXPECT_EQ(ranges.Next(1), 4u);
  EXPECT_EQ(ranges.Next(0), 2u);
  EXPECT_EQ(ranges.Next(0), 3u);
  EXPECT_EQ(ranges.Next(0), 7u);  // its own are through
  EXPECT_EQ(ranges.Next(1), 5u);
  EXPECT_EQ(ranges.Next(0), 6u);
  EXPECT_EQ(ranges.Next(0), std::nullopt);
  EXPECT_EQ(ranges.Next(1), std::nullopt);
}

}  // namespace
}  // namespace marlin
