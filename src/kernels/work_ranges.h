// Distributes the pieces of a job among threads. Each thread processes its own range in order, then takes pieces from
// the end of another thread's range. A thread reads memory in ascending order, which suits prefetching, and threads of
// unequal speed finish together.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace marlin {

class WorkRanges {
 public:
  explicit WorkRanges(std::size_t threads) : ranges_(threads) {}

  // Pieces 0 .. pieces - 1, fewer than 2^32. No thread may be in Next.
  void Start(std::size_t pieces);

  // A piece that nobody else gets; nothing when all are taken.
  std::optional<std::size_t> Next(std::size_t thread);

 private:
  struct alignas(64) Range {
    std::atomic<std::uint64_t> span{0};  // its first piece, and 2^32 times its end
  };
  std::vector<Range> ranges_;
};

}  // namespace marlin
