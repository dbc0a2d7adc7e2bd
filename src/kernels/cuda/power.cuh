// The powers of two that numbers are divided by before they are rounded to fp16.
#pragma once

#include <cuda_runtime.h>

namespace marlin::cuda {

// A sum of products without its powers of two, and with its bias, if there is one.
__device__ inline float Scaled(float sum, float scale, const float* bias, std::size_t i) {
  return bias == nullptr ? sum * scale : __fmaf_rn(sum, scale, bias[i]);
}

// What numbers of at most this size are divided by, so that they are below 2^15; 1 for zeros, infinities and NaN.
__host__ __device__ inline float PowerFor(float most) {
  if (!(most > 0 && most <= 3.0e38f)) return 1;
  int exponent = 0;
  frexpf(most, &exponent);  // most < 2^exponent
  return ldexpf(1, exponent - 15 > -126 ? exponent - 15 : -126);
}

}  // namespace marlin::cuda
