// Limits of a device that computes by itself, measured with its yardsticks.
#pragma once

#include <cstddef>

#include "base/result.h"
#include "bench/limits.h"
#include "kernels/backend.h"

namespace marlin {

// What is read and multiplied. The defaults take a GPU some milliseconds.
struct DeviceLimitSizes {
  std::size_t read_bytes = std::size_t{4} << 30;  // but at most a quarter of what is free
  std::size_t side = 8192;                        // of the square matrices; a multiple of 8
  std::size_t in_a_run = 8;                       // reads or products in a recording
  int passes = 8;
};

struct DeviceLimits {
  MachineLimits limits;  // read_gbps and fp16_gflops, best of the passes; the others stay 0
  DeviceState working;   // while the products ran
};

// The device has yardsticks. Errors: kResource, kUnsupported, those of its operations.
Result<DeviceLimits> MeasureDeviceLimits(Backend& backend, const DeviceLimitSizes& sizes = {});

}  // namespace marlin
