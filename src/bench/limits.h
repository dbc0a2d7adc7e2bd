// What this machine can do at most, measured in the same run as everything that is compared with it.
#pragma once

#include <cstddef>
#include <string>

#include "base/thread_pool.h"

namespace marlin {

struct MachineLimits {
  double read_gbps = 0;   // stream read from memory, all threads, best of the passes
  double fma_gflops = 0;  // fp32 fused multiply-add on registers, all threads, best of the passes
  std::string fma_isa;    // instructions used: "avx512", "avx2", "scalar", "neon"
};

MachineLimits MeasureLimits(ThreadPool& pool);

// Bytes of the last-level cache as the operating system tells; 32 MiB when it does not.
std::size_t LastLevelCacheBytes();

}  // namespace marlin
