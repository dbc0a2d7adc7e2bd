#include "bench/recorded_run.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "base/progress.h"

namespace marlin {
namespace {

// A run takes milliseconds, for one launch and one wait: 1.5e12 operations take a GPU of 1000 TFLOP/s 1.5 ms, and 8e9
// bytes as long at 5 TB/s. 512 products of 4 us, the smallest there are, take 2 ms.
constexpr double kFlopsOfRun = 1.5e12;
constexpr double kBytesOfRun = 8e9;
constexpr double kMostProducts = 512;

}  // namespace

TimedRun RecordedRun(Device& device, std::size_t products, std::function<void()> queue) {
  auto recording = std::make_shared<std::unique_ptr<Recording>>();  // std::function copies what it holds
  return {[&device, recording, queue = std::move(queue)] {
            device.QueueRecorded(*recording, queue);
            return device.Synchronize();
          },
          products, [recording] { return *recording != nullptr && (*recording)->replays(); }};
}

std::size_t ProductsOfRun(double flops, double bytes, std::size_t copies) {
  const double enough = std::ceil(std::min({kMostProducts, kFlopsOfRun / flops, kBytesOfRun / bytes}));
  const auto rotations = (static_cast<std::size_t>(std::max(enough, 1.0)) + copies - 1) / copies;
  return rotations * copies;
}

Status PrepareRuns(std::span<const TimedRun> runs) {
  for (const TimedRun& run : runs) {
    for (int time = 0; time < 2; ++time) {
      if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
      if (auto status = run.run(); !status) return status;
    }
  }
  return {};
}

std::vector<double> OfOneProduct(std::vector<double> samples_ns, std::size_t products) {
  for (double& ns : samples_ns) ns /= static_cast<double>(products);
  return samples_ns;
}

}  // namespace marlin
