// What the files of attention share.
#pragma once

#include <cuda_fp16.h>

#include "kernels/cuda/operations.h"

namespace marlin::cuda {

// Two numbers rounded to fp16, the first in the low half.
__device__ inline std::uint32_t Pack(float a, float b) {
  const __half2 pair = __floats2half2_rn(a, b);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

// Attention of many tokens over a cache in fp16. False where no kernel takes heads of this size; then nothing is
// queued.
bool AttendHalves(const AttentionShape& shape, View<const float> q, const CacheView& cache,
                  View<const std::int32_t> positions, View<float> out, cudaStream_t stream);
// The same of few tokens.
bool AttendFewHalves(const AttentionShape& shape, View<const float> q, const CacheView& cache,
                     View<const std::int32_t> positions, View<float> out, cudaStream_t stream);

}  // namespace marlin::cuda
