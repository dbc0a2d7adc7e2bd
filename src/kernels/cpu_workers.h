// The threads of the CPU backend: how its operations share work, and memory for each of them.
#pragma once

#include <atomic>
#include <cstddef>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/region.h"
#include "kernels/work_ranges.h"

namespace marlin {

// Elements that one thread handles before waking another one pays (a few microseconds).
inline constexpr std::size_t kSerialElements = 16384;

class CpuWorkers {
 public:
  // workspaces: one for each thread.
  explicit CpuWorkers(std::vector<Region> workspaces)
      : pool_(static_cast<int>(workspaces.size())), ranges_(workspaces.size()), workspaces_(std::move(workspaces)) {}

  ThreadPool& pool() { return pool_; }
  int threads() const { return pool_.threads(); }
  float* Workspace(int thread) {
    return reinterpret_cast<float*>(workspaces_[static_cast<std::size_t>(thread)].data());
  }

  // job(row) for every row, on all threads when there is enough to do.
  template <class Job>
  void ForRows(std::size_t rows, std::size_t cols, Job job) {
    const auto share = [&](std::size_t begin, std::size_t end, int) {
      for (std::size_t row = begin; row < end; ++row) job(row);
    };
    if (rows * cols <= kSerialElements || rows == 1) return share(0, rows, 0);
    pool_.Split(rows, share);
  }

  // job(piece, thread) for every piece, in order, to whoever is free.
  template <class Job>
  void ForPieces(std::size_t pieces, Job job) {
    std::atomic<std::size_t> next{0};
    pool_.Run([&](int thread) {
      for (std::size_t piece; (piece = next.fetch_add(1, std::memory_order_relaxed)) < pieces;) job(piece, thread);
    });
  }

  // The same where pieces are equal and a thread had better have neighbours.
  template <class Job>
  void ForNeighbours(std::size_t pieces, Job job) {
    ranges_.Start(pieces);
    pool_.Run([&](int thread) {
      while (const auto piece = ranges_.Next(static_cast<std::size_t>(thread))) job(*piece, thread);
    });
  }

 private:
  ThreadPool pool_;
  WorkRanges ranges_;
  std::vector<Region> workspaces_;
};

}  // namespace marlin
