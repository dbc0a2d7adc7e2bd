// The norm of a row, by a block of threads.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/launch.cuh"

namespace marlin::cuda {

struct RowNorm {
  double mean = 0, factor = 1;
  const float* weight = nullptr;  // null: ones
  const float* bias = nullptr;    // null: none

  __device__ float Of(float x, std::size_t col) const {
    double value = (x - mean) * factor;
    if (weight != nullptr) value *= weight[col];
    if (bias != nullptr) value += bias[col];
    return static_cast<float>(value);
  }
};

// scratch: kThreads doubles, shared.
__device__ inline RowNorm NormOfRow(NormKind kind, const float* row, std::size_t cols, float eps, const float* weight,
                                    const float* bias, double* scratch) {
  double mean = 0;
  if (kind == NormKind::kLayer) {
    double sum = 0;
    for (std::size_t i = threadIdx.x; i < cols; i += kThreads) sum += row[i];
    mean = OverBlock(sum, scratch, Sum()) / static_cast<double>(cols);
  }
  double squares = 0;
  for (std::size_t i = threadIdx.x; i < cols; i += kThreads) squares += (row[i] - mean) * (row[i] - mean);
  squares = OverBlock(squares, scratch, Sum());
  return {mean, 1 / sqrt(squares / static_cast<double>(cols) + eps), weight, bias};
}

}  // namespace marlin::cuda
