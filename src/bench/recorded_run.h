// Runs of many products that a device replays, so that neither launches nor waits count.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/device.h"

namespace marlin {

// What is timed: it returns when its products are done.
struct TimedRun {
  std::function<Status()> run;
  std::size_t products = 1;
  std::function<bool()> replayed{};  // of a recorded run: whether the device replays it
};

// queue: queues the products, with the same arguments every time. What it refers to outlives the run.
TimedRun RecordedRun(Device& device, std::size_t products, std::function<void()> queue);

// Products of a recorded run: so many that the launch and the end of a run do not count, in whole rotations through
// the copies. flops, bytes: of one product.
std::size_t ProductsOfRun(double flops, double bytes, std::size_t copies);

// Recorded runs are queued once, then recorded, and replayed from then on. Errors: kInterrupted, those of the runs.
Status PrepareRuns(std::span<const TimedRun> runs);

// Times of a product from those of a run.
std::vector<double> OfOneProduct(std::vector<double> samples_ns, std::size_t products);

}  // namespace marlin
