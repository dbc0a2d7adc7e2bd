// What kernels ask about the current device of the thread.
#pragma once

namespace marlin::cuda {

struct DeviceFacts {
  int processors = 1;           // multiprocessors
  bool launches_early = false;  // programmatic dependent launch: compute capability 9.0 or newer
};

const DeviceFacts& FactsOfDevice();

}  // namespace marlin::cuda
