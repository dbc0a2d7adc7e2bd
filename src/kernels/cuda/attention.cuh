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

// The larger one; a NaN is larger than every number.
__device__ inline float Peak(float a, float b) { return b > a || b != b ? b : a; }

// What numbers that were divided by exp(part) are multiplied by, to be divided by exp(peak).
__device__ inline float Keep(float part, float peak) { return part == -INFINITY ? 0.0f : __expf(part - peak); }

// Half number i of two registers' rows, side by side.
__device__ inline std::uint32_t SideBySide(std::uint32_t a, std::uint32_t b, bool upper) {
  return __byte_perm(a, b, upper ? 0x7632 : 0x5410);
}

// Attention of many tokens over a cache in fp16. False where no kernel takes heads of this size; then nothing is
// queued.
bool AttendHalves(const AttentionShape& shape, View<const float> q, const CacheView& cache,
                  View<const std::int32_t> positions, View<float> out, cudaStream_t stream);
// The same of few tokens.
bool AttendFewHalves(const AttentionShape& shape, View<const float> q, const CacheView& cache,
                     View<const std::int32_t> positions, View<float> out, cudaStream_t stream);

}  // namespace marlin::cuda
