// Divides a matrix product into pieces for the threads.
#pragma once

#include <cstddef>

namespace marlin {

struct WorkSplit {
  std::size_t part_tokens = 0;  // tokens of a part (the last one may be shorter)
  std::size_t parts = 0;        // parts of the m tokens
};

// panels, m and threads at least 1.
WorkSplit SplitWork(std::size_t panels, std::size_t m, std::size_t threads);

}  // namespace marlin
