// What kernels ask about the current device of the thread.
#pragma once

namespace marlin::cuda {

struct DeviceFacts {
  int processors = 1;           // multiprocessors
  bool launches_early = false;  // programmatic dependent launch: compute capability 9.0 or newer
};

const DeviceFacts& FactsOfDevice();

// Multiprocessors that run the kernel keep as much shared memory as they can. A multiprocessor changes its division of
// memory only when it runs nothing, so kernels that overlap must want the same one.
void PreferSharedMemory(const void* kernel);

}  // namespace marlin::cuda
