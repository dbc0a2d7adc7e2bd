// Progress reports of long work, and the flag by which the caller asks it to stop. The library never prints.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

namespace marlin {

struct Progress {
  std::string stage;        // "perplexity fp4-g128"
  std::uint64_t done = 0;   // in units
  std::uint64_t total = 0;  // 0 = unknown
  std::string unit;         // "windows", "bytes"
  std::string note;         // running value, may be empty
};

using ProgressFn = std::function<void(const Progress&)>;

// Set by the signal handler of the program; long work polls it between units and returns kInterrupted.
inline std::atomic<bool> g_interrupted{false};
inline bool Interrupted() { return g_interrupted.load(std::memory_order_relaxed); }

}  // namespace marlin
