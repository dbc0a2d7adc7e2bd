// For tests: statistics of inputs in host memory.
#pragma once

#include <utility>
#include <vector>

#include "base/matrix.h"
#include "base/thread_pool.h"
#include "kernels/test_device.h"
#include "quantize/statistics.h"

namespace marlin {

// Adds the rows of x [tokens, k]. Errors leave `stats` as it was.
inline Status Accumulate(InputStatistics& stats, MatrixView<const float> x, const ThreadPool& pool, bool keep_gram) {
  const auto backend = TestCpu(pool.threads());
  const auto buffer = std::move(*backend->Allocate(x.rows * x.cols));
  const DeviceTensor on_device = View(buffer, x.rows, x.cols);
  backend->Upload(std::span(x.data, x.rows * x.cols), on_device);
  StatisticsGatherer gatherer(*backend, keep_gram, stats);
  if (auto status = gatherer.Add(on_device); !status) return status;
  return gatherer.Read().MoveTo(stats);
}

}  // namespace marlin
