// The backend for NVIDIA devices. Weights stay quantized in the device's memory; activations, sums and the cache are
// fp32. Where activations may be rounded, products round to fp16, and the cache is fp16. CUDA's driver and cuBLAS are
// loaded when a device is opened, so the same program runs without them.
#pragma once

#include <memory>

#include "base/result.h"
#include "kernels/backend.h"
#include "kernels/kernel.h"

namespace marlin {

bool BuiltWithCuda();

// Devices that a process can use; 0 without a driver, or where the program was built without CUDA.
int CountCudaDevices();

// index: as CUDA counts the devices that this process may see. threads: of the host beside it; 0 = all. Errors: kUsage
// (no such device), kUnsupported (no driver, too old a device, no cuBLAS, a program built without CUDA: says which),
// kResource.
// chains: a recorded decode step runs as one kernel where it can (cuda_chain.h). It gives other last digits than the
// graph of its operations.
Result<std::unique_ptr<Backend>> MakeCudaBackend(int index, int threads, Activations activations = Activations::kFp32,
                                                 bool chains = true);

}  // namespace marlin
