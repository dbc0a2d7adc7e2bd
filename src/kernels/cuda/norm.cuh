// The norm of a row, by a block of threads.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/quads.cuh"

namespace marlin::cuda {

// What a norm multiplies and adds, column by column.
struct NormWeights {
  const float* weight = nullptr;  // null: ones
  const float* bias = nullptr;    // null: none

  // The weights of columns i to i + 3.
  __device__ Quad Load(std::size_t i, std::size_t cols) const {
    Quad ones;
#pragma unroll
    for (float& one : ones.v) one = 1;
    return weight == nullptr ? ones : LoadQuad(weight, i, cols, HasWholeQuads(weight, 0));
  }
};

struct RowNorm {
  double mean = 0, factor = 1;

  // Of columns i and following. weights: NormWeights::Load.
  __device__ void Apply(const Quad& weights, const float* bias, std::size_t i, Quad& quad) const {
    EachOf(quad.count, [&](int c) {
      double value = (quad.v[c] - mean) * factor * weights.v[c];
      if (bias != nullptr) value += bias[i + c];
      quad.v[c] = static_cast<float>(value);
    });
  }
};

// Of a row of which each thread of the block has some quads: each(function) calls the function with them. sums:
// kMostWarps doubles, shared. The order of the sums depends on the threads of the block alone.
template <class Each>
__device__ RowNorm NormOfRow(NormKind kind, Each each, std::size_t cols, float eps, double* sums) {
  const auto total = [&](auto term) {
    double sum = 0;
    each([&](const Quad& quad) { EachOf(quad.count, [&](int c) { sum += term(quad.v[c]); }); });
    return OverBlockOf(sum, sums, Sum());
  };
  double mean = 0;
  if (kind == NormKind::kLayer) {
    mean = total([](float x) { return static_cast<double>(x); }) / static_cast<double>(cols);
  }
  const double squares = total([mean](float x) { return (x - mean) * (x - mean); });
  return {mean, 1 / sqrt(squares / static_cast<double>(cols) + eps)};
}

}  // namespace marlin::cuda
