// The norm of a row, by a block of threads.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/quads.cuh"

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

// Of a row of which each thread of the block has some quads. sums: kMostWarps doubles, shared. The order of the sums
// depends on the threads of the block alone.
template <class Row>
__device__ RowNorm NormOfRow(NormKind kind, Row row, std::size_t cols, float eps, const float* weight,
                             const float* bias, double* sums) {
  const auto total = [&](auto term) {
    double sum = 0;
    EachQuad(cols, [&](std::size_t i) {
      const Quad quad = row(i);
      EachOf(quad.count, [&](int c) { sum += term(quad.v[c]); });
    });
    return OverBlockOf(sum, sums, Sum());
  };
  double mean = 0;
  if (kind == NormKind::kLayer) {
    mean = total([](float x) { return static_cast<double>(x); }) / static_cast<double>(cols);
  }
  const double squares = total([mean](float x) { return (x - mean) * (x - mean); });
  return {mean, 1 / sqrt(squares / static_cast<double>(cols) + eps), weight, bias};
}

}  // namespace marlin::cuda
