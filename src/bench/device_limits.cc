#include "bench/device_limits.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "base/check.h"
#include "base/thread_pool.h"
#include "bench/operands.h"

namespace marlin {
namespace {

// The least time of a run that is replayed: of the passes after one that queues it and one that records it. Seconds.
Result<double> LeastSecondsOf(Backend& backend, std::unique_ptr<Recording>& recording,
                              const std::function<void()>& queue, int passes) {
  using Clock = std::chrono::steady_clock;
  double least = 0;
  for (int pass = -2; pass < passes; ++pass) {
    const auto start = Clock::now();
    backend.QueueRecorded(recording, queue);
    if (auto status = backend.Synchronize(); !status) return status.error();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (pass == 0 || (pass > 0 && seconds < least)) least = seconds;
  }
  return least;
}

Result<double> MeasureReadOf(Backend& backend, const DeviceLimitSizes& sizes) {
  const std::size_t most = backend.free_bytes().value_or(4 * sizes.read_bytes) / 4;
  const std::size_t words = std::max<std::size_t>(1, std::min(sizes.read_bytes, most) / sizeof(std::int32_t));
  std::unique_ptr<Buffer> memory, sum;
  const auto allocated = backend.AllocateAll({{&memory, words, ElementType::kI32}, {&sum, 1, ElementType::kI32}});
  if (!allocated) return allocated.error();
  const auto queue = [&] {
    for (std::size_t i = 0; i < sizes.in_a_run; ++i) {
      backend.yardsticks()->SumWords(View(memory, 1, words, ElementType::kI32), View(sum, 1, 1, ElementType::kI32));
    }
  };
  std::unique_ptr<Recording> recording;
  const auto seconds = LeastSecondsOf(backend, recording, queue, sizes.passes);
  if (!seconds) return seconds.error();
  return static_cast<double>(sizes.in_a_run * words * sizeof(std::int32_t)) / *seconds / 1e9;
}

// Random numbers: zeros take a GPU less power, and so its clock would be higher than in any product of use.
Status MeasurePeakOf(Backend& backend, const DeviceLimitSizes& sizes, DeviceLimits& to) {
  const std::size_t side = sizes.side;
  ThreadPool pool(backend.threads());
  const std::vector<float> values = RandomMatrix(side * side, 3, 1.0, pool);
  std::unique_ptr<Buffer> matrix, out;
  auto uploaded = UploadHalfPairs(backend, {values.data(), side, side}, pool);
  if (auto status = std::move(uploaded).MoveTo(matrix); !status) return status;
  if (auto status = backend.AllocateAll({{&out, side * side / 2, ElementType::kI32}}); !status) return status;
  const auto pairs = [&](const std::unique_ptr<Buffer>& buffer) {
    return View(buffer, side, side / 2, ElementType::kI32);
  };
  const auto queue = [&] {
    for (std::size_t i = 0; i < sizes.in_a_run; ++i) {
      backend.yardsticks()->MultiplyHalfPairs(pairs(matrix), pairs(matrix), pairs(out));
    }
  };
  std::unique_ptr<Recording> recording;
  const auto seconds = LeastSecondsOf(backend, recording, queue, sizes.passes);
  if (!seconds) return seconds.error();
  const double flops = 2.0 * static_cast<double>(side) * static_cast<double>(side) * static_cast<double>(side);
  to.limits.fp16_gflops = static_cast<double>(sizes.in_a_run) * flops / *seconds / 1e9;
  for (int pass = 0; pass < sizes.passes; ++pass) backend.QueueRecorded(recording, queue);
  to.working = backend.state();  // the queue is not empty yet
  return backend.Synchronize();
}

}  // namespace

Result<DeviceLimits> MeasureDeviceLimits(Backend& backend, const DeviceLimitSizes& sizes) {
  MARLIN_CHECK(backend.yardsticks() != nullptr, "a device with yardsticks");
  DeviceLimits out;
  if (auto status = MeasureReadOf(backend, sizes).MoveTo(out.limits.read_gbps); !status) return status.error();
  if (auto status = MeasurePeakOf(backend, sizes, out); !status) return status.error();
  return out;
}

}  // namespace marlin
