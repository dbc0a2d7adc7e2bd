#include "kernels/work_split.h"

#include <gtest/gtest.h>

#include "kernels/cpu/tile.h"

namespace marlin {
namespace {

TEST(WorkSplit, CoversEveryTokenWithinTheLimitOfATile) {
  for (const std::size_t m : {1, 2, 5, 6, 7, 23, 24, 25, 100, 511, 512, 513, 2048, 5000}) {
    for (const std::size_t panels : {1, 3, 9, 24, 768}) {
      for (const std::size_t threads : {1, 2, 3, 64}) {
        const WorkSplit split = SplitWork(panels, m, threads);
        ASSERT_GE(split.part_tokens, 1u);
        ASSERT_LE(split.part_tokens, kMaxTileTokens);
        ASSERT_GE(split.parts * split.part_tokens, m);
        ASSERT_LT((split.parts - 1) * split.part_tokens, m) << "an empty part";
      }
    }
  }
}

TEST(WorkSplit, BalancesFewPanelsOverThreads) {
  // 9 panels on 2 threads would be 5 + 4: the tokens are halved instead.
  EXPECT_EQ(SplitWork(9, 512, 2).parts % 2, 0u);
  // 9 panels cannot feed 64 threads.
  EXPECT_GE(SplitWork(9, 512, 64).parts * 9, 60u);
  // A large head needs no cut.
  EXPECT_EQ(SplitWork(768, 512, 2).parts, 1u);
  EXPECT_EQ(SplitWork(9, 1, 2).parts, 1u);
}

}  // namespace
}  // namespace marlin
