// A plain read of memory, which shows the bandwidth of a device. What read.cu defines.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/operations.h"

namespace marlin::cuda {

// *sum = the sum of the words modulo 2^32. words: aligned to 16 bytes. multiprocessors: of the device.
void SumWords(const std::uint32_t* words, std::size_t count, int multiprocessors, std::uint32_t* sum,
              cudaStream_t stream);

}  // namespace marlin::cuda
