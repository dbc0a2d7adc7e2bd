#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace marlin {
namespace {

TEST(ThreadPool, EveryThreadRunsEveryJobOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (int job = 0; job < 500; ++job) {
      std::vector<int> ran(static_cast<std::size_t>(threads), 0);
      pool.Run([&](int t) { ++ran[static_cast<std::size_t>(t)]; });
      ASSERT_EQ(ran, std::vector<int>(static_cast<std::size_t>(threads), 1));
    }
  }
}

TEST(ThreadPool, SplitCoversEveryIndexOnce) {
  ThreadPool pool(3);
  for (const std::size_t count : {0u, 1u, 2u, 3u, 100u}) {
    std::vector<std::atomic<int>> hits(count);
    pool.Split(count, [&](std::size_t begin, std::size_t end, int) {
      for (std::size_t i = begin; i < end; ++i) ++hits[i];
    });
    for (const auto& h : hits) EXPECT_EQ(h.load(), 1);
  }
}

TEST(ThreadPool, AvailableThreadsIsPositive) { EXPECT_GE(AvailableThreads(), 1); }

}  // namespace
}  // namespace marlin
