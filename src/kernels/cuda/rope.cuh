// A pair of numbers that turns with its position.
#pragma once

#include "kernels/cuda/operations.h"

namespace marlin::cuda {

struct RotatedPair {
  std::size_t first, second;  // columns of a head
  float a, b;                 // rotated
};

// A pair of numbers of a row's head, rotated.
__device__ inline RotatedPair Rotated(const RopeTables& tables, std::size_t position, const float* head,
                                      std::size_t pair) {
  const std::size_t pairs = tables.cos.cols;
  RotatedPair out;
  out.first = tables.neighbours ? 2 * pair : pair;
  out.second = tables.neighbours ? 2 * pair + 1 : pairs + pair;
  const float c = tables.cos.data[position * tables.cos.stride + pair];
  const float s = tables.sin.data[position * tables.sin.stride + pair];
  const float a = head[out.first], b = head[out.second];
  out.a = __fmaf_rn(a, c, -__fmul_rn(b, s));
  out.b = __fmaf_rn(b, c, __fmul_rn(a, s));
  return out;
}

}  // namespace marlin::cuda
