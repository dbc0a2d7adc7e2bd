#include "kernels/cuda/device_facts.h"

#include <cuda_runtime_api.h>

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

}  // namespace marlin::cuda
