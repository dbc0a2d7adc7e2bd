// The powers of two that numbers are divided by before they are rounded to fp16.
#pragma once

#include <cuda_runtime.h>

namespace marlin::cuda {

// What numbers of at most this size are divided by, so that they are below 2^15; 1 for zeros, infinities and NaN.
__host__ __device__ inline float PowerFor(float most) {
  if (!(most > 0 && most <= 3.0e38f)) return 1;
  int exponent = 0;
  frexpf(most, &exponent);  // most < 2^exponent
  return ldexpf(1, exponent - 15 > -126 ? exponent - 15 : -126);
}

}  // namespace marlin::cuda
