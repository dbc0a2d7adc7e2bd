// Grids of the plain kernels, and sums over a block of threads. Sums have one order, so results have the same bits from
// run to run.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "kernels/cuda/device_facts.h"
#include "kernels/cuda/ptx.cuh"

namespace marlin::cuda {

inline constexpr int kWarp = 32;
inline constexpr int kThreads = 256;

inline unsigned Blocks(std::size_t items, std::size_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

// Queues a kernel that begins with AfterPrevious. It may start before the kernel in front of it has ended, so the time
// between them is short. cluster: blocks of one, side by side.
template <class... Args, class... Given>
void LaunchOverlapping(void (*kernel)(Args...), dim3 grid, int cluster, int block, std::size_t shared,
                       cudaStream_t stream, Given&&... given) {
  cudaLaunchAttribute attributes[2];
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(block));
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  config.attrs = attributes;
  if (FactsOfDevice().launches_early) {
    cudaLaunchAttribute& early = attributes[config.numAttrs++];
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
  }
  if (cluster > 1) {
    cudaLaunchAttribute& size = attributes[config.numAttrs++];
    size.id = cudaLaunchAttributeClusterDimension;
    size.val.clusterDim.x = static_cast<unsigned>(cluster);
    size.val.clusterDim.y = size.val.clusterDim.z = 1;
  }
  cudaLaunchKernelEx(&config, kernel, std::forward<Given>(given)...);
}
// The same of a kernel that does without most of the cache of the multiprocessors.
template <class... Args, class... Given>
void LaunchClusters(void (*kernel)(Args...), dim3 grid, int cluster, int block, std::size_t shared, cudaStream_t stream,
                    Given&&... given) {
  PreferSharedMemory(reinterpret_cast<const void*>(kernel));
  LaunchOverlapping(kernel, grid, cluster, block, shared, stream, std::forward<Given>(given)...);
}
template <class... Args, class... Given>
void LaunchEarly(void (*kernel)(Args...), dim3 grid, int block, std::size_t shared, cudaStream_t stream,
                 Given&&... given) {
  LaunchClusters(kernel, grid, 1, block, shared, stream, std::forward<Given>(given)...);
}

__device__ inline std::size_t GlobalThread() { return static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

// Every lane gets the sum of all lanes.
template <class T>
__device__ T SumOfWarp(T value) {
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

// A value of another lane: the lane that is given, or the one so many places higher.
template <class T>
__device__ T FromLane(T value, unsigned lane) {
  static_assert(sizeof(T) % 4 == 0);
  std::uint32_t words[sizeof(T) / 4];
  memcpy(words, &value, sizeof(T));
#pragma unroll
  for (std::uint32_t& word : words) word = __shfl_sync(0xffffffffu, word, static_cast<int>(lane));
  memcpy(&value, words, sizeof(T));
  return value;
}
template <class T>
__device__ T FromLaneAbove(T value, int step) {
  return FromLane(value, (threadIdx.x + static_cast<unsigned>(step)) % kWarp);
}

// Combines a value of each of kCount threads, the whole block; every thread gets the result. `scratch`: kCount of them,
// shared.
//
// The order is that of a tree: first threads kCount / 2 apart, last neighbours.
template <int kCount = kThreads, class T, class Combine>
__device__ T OverBlock(T value, T* scratch, Combine combine) {
  __syncthreads();
  scratch[threadIdx.x] = value;
  __syncthreads();
  if (threadIdx.x < kWarp) {
    T own[kCount / kWarp];
#pragma unroll
    for (int i = 0; i < kCount / kWarp; ++i) own[i] = scratch[i * kWarp + static_cast<int>(threadIdx.x)];
#pragma unroll
    for (int step = kCount / kWarp / 2; step > 0; step /= 2) {
#pragma unroll
      for (int i = 0; i < step; ++i) own[i] = combine(own[i], own[i + step]);
    }
#pragma unroll
    for (int step = kWarp / 2; step > 0; step /= 2) own[0] = combine(own[0], FromLaneAbove(own[0], step));
    if (threadIdx.x == 0) scratch[0] = own[0];
  }
  __syncthreads();
  return scratch[0];
}

inline constexpr int kMostWarps = 32;  // of a block

// The same of a block of any number of whole warps: first the lanes of each warp, then its warps. scratch: kMostWarps
// of them, shared.
template <class T, class Combine>
__device__ T OverBlockOf(T value, T* scratch, Combine combine) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) value = combine(value, FromLaneAbove(value, step));
  __syncthreads();
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = value;
  __syncthreads();
  const unsigned warps = blockDim.x / kWarp, lane = threadIdx.x % kWarp;
  T all = scratch[lane < warps ? lane : 0];
#pragma unroll
  for (unsigned step = kMostWarps / 2; step > 0; step /= 2) {
    const T other = FromLaneAbove(all, static_cast<int>(step));
    if (lane + step < warps) all = combine(all, other);
  }
  return FromLane(all, 0);
}

struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

}  // namespace marlin::cuda
