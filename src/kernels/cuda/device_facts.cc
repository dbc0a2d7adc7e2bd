#include "kernels/cuda/device_facts.h"

#include <cuda_runtime_api.h>

#include <mutex>
#include <set>
#include <utility>

namespace marlin::cuda {

const DeviceFacts& FactsOfDevice() {
  thread_local int known = -1;
  thread_local DeviceFacts facts;
  int device = 0;
  cudaGetDevice(&device);
  if (device == known) return facts;
  int major = 0;
  cudaDeviceGetAttribute(&facts.processors, cudaDevAttrMultiProcessorCount, device);
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  facts.launches_early = major >= 9;
  known = device;
  return facts;
}

void PreferSharedMemory(const void* kernel) {
  static std::mutex mutex;
  static std::set<std::pair<int, const void*>> known;  // of which device
  int device = 0;
  cudaGetDevice(&device);
  const std::lock_guard lock(mutex);
  if (!known.emplace(device, kernel).second) return;
  cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
}

}  // namespace marlin::cuda
