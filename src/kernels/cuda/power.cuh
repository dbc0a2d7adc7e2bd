// The powers of two that numbers are divided by before they are rounded to fp16.
#pragma once

#include "kernels/cuda/launch.cuh"

namespace marlin::cuda {

// What numbers of at most this size are divided by, so that they are below 2^15; 1 for zeros, infinities and NaN.
__host__ __device__ inline float PowerFor(float most) {
  if (!(most > 0 && most <= 3.0e38f)) return 1;
  int exponent = 0;
  frexpf(most, &exponent);  // most < 2^exponent
  return ldexpf(1, exponent - 15 > -126 ? exponent - 15 : -126);
}

// Of a row, by a block. scratch: kThreads floats, shared.
__device__ inline float PowerOfRow(const float* row, std::size_t cols, float* scratch) {
  float most = 0;
  for (std::size_t i = threadIdx.x; i < cols; i += kThreads) most = fmaxf(most, fabsf(row[i]));
  return PowerFor(OverBlock(most, scratch, [](float a, float b) { return fmaxf(a, b); }));
}

}  // namespace marlin::cuda
