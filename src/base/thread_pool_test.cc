#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <new>
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

TEST(ThreadPool, WhatAJobThrowsReachesTheCaller) {
  ThreadPool pool(3);
  for (int thrower = 0; thrower < 3; ++thrower) {
    std::atomic<int> ran{0};
    EXPECT_THROW(pool.Run([&](int thread) {
      ++ran;
      if (thread == thrower) throw std::bad_alloc();
    }),
                 std::bad_alloc);
    EXPECT_EQ(ran.load(), 3) << "the others ended first";
    pool.Run([&](int) { ++ran; });
    EXPECT_EQ(ran.load(), 6) << "the pool still works";
  }
}

TEST(ThreadPool, AvailableThreadsIsPositive) { EXPECT_GE(AvailableThreads(), 1); }

}  // namespace
}  // namespace marlin
