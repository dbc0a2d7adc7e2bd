#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/read.h"

namespace marlin::cuda {
namespace {

// 1024 threads of a multiprocessor, which all have room for, with up to 64 registers each: 32 of them hold eight loads
// that are under way. So a multiprocessor waits for 128 KiB at a time.
constexpr int kReaders = 512;
constexpr int kBlocksAtOnce = 2;  // of a multiprocessor
constexpr int kLoads = 8;         // of 16 bytes

__device__ std::uint32_t SumOf(const uint4& words) { return words.x + words.y + words.z + words.w; }

// quads: four words each, without the last `rest` words, which follow them.
__global__ void __launch_bounds__(kReaders, kBlocksAtOnce)
    SumWordsKernel(const uint4* quads, std::size_t count, unsigned rest, std::uint32_t* sum) {
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * kReaders;
  std::uint32_t own = 0;
  std::size_t i = GlobalThread();
  if (i < rest) own = reinterpret_cast<const std::uint32_t*>(quads + count)[i];
  for (; i + (kLoads - 1) * step < count; i += kLoads * step) {
    uint4 loaded[kLoads];
#pragma unroll
    for (int l = 0; l < kLoads; ++l) loaded[l] = __ldcs(quads + i + l * step);
#pragma unroll
    for (int l = 0; l < kLoads; ++l) own += SumOf(loaded[l]);
  }
  for (; i < count; i += step) own += SumOf(__ldcs(quads + i));
  own = SumOfWarp(own);
  if (threadIdx.x % kWarp == 0) atomicAdd(sum, own);  // integers: the order does not matter
}

}  // namespace

void SumWords(const std::uint32_t* words, std::size_t count, int multiprocessors, std::uint32_t* sum,
              cudaStream_t stream) {
  cudaMemsetAsync(sum, 0, sizeof(*sum), stream);
  const auto blocks = static_cast<unsigned>(multiprocessors * kBlocksAtOnce);
  SumWordsKernel<<<blocks, kReaders, 0, stream>>>(reinterpret_cast<const uint4*>(words), count / 4,
                                                  static_cast<unsigned>(count % 4), sum);
}

}  // namespace marlin::cuda
