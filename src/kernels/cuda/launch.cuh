// Grids of the plain kernels, and sums over a block of threads. Sums have one order, so results have the same bits from
// run to run.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

namespace marlin::cuda {

inline constexpr int kWarp = 32;
inline constexpr int kThreads = 256;

inline unsigned Blocks(std::size_t items, std::size_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

__device__ inline std::size_t GlobalThread() { return static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

// Every lane gets the sum of all lanes.
template <class T>
__device__ T SumOfWarp(T value) {
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

// Combines a value of each of kCount threads, the whole block; every thread gets the result. `scratch`: kCount of them,
// shared.
template <int kCount = kThreads, class T, class Combine>
__device__ T OverBlock(T value, T* scratch, Combine combine) {
  __syncthreads();
  scratch[threadIdx.x] = value;
  __syncthreads();
  for (int step = kCount / 2; step > 0; step /= 2) {
    if (threadIdx.x < static_cast<unsigned>(step)) {
      scratch[threadIdx.x] = combine(scratch[threadIdx.x], scratch[threadIdx.x + static_cast<unsigned>(step)]);
    }
    __syncthreads();
  }
  return scratch[0];
}

struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

}  // namespace marlin::cuda
