// Operations on each element, each pair or each row of a matrix.
#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/norm.cuh"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/quads.cuh"

namespace marlin::cuda {
namespace {

// x[t][i] = function(x[t][i], y[t][i]); without y, 0 in its place.
template <class Function>
__global__ void ForEachKernel(View<float> x, View<const float> y, unsigned parts, Function function) {
  const RowPart part = PartOfThread(parts);
  AfterPrevious();
  if (part.col >= x.cols) return;
  const bool whole = HasWholeQuads(x.data, x.stride);
  float* const row = x.data + part.row * x.stride;
  Quad quad = LoadQuad(row, part.col, x.cols, whole), other;
  if (y.data != nullptr) {
    other = LoadQuad(y.data + part.row * y.stride, part.col, x.cols, HasWholeQuads(y.data, y.stride));
  }
#pragma unroll
  for (int c = 0; c < 4; ++c) quad.v[c] = function(quad.v[c], other.v[c]);
  StoreQuad(row, part.col, whole, quad);
}

template <class Function>
void ForEach(View<float> x, View<const float> y, cudaStream_t stream, Function function) {
  if (x.rows * x.cols == 0) return;
  const unsigned parts = PartsOfRow(x.cols);
  LaunchEarly(ForEachKernel<Function>, Blocks(x.rows * parts, 1), kThreads, 0, stream, x, y, parts, function);
}

template <class Function>
void ActivateWith(Function function, View<float> x, View<const float> factor, cudaStream_t stream) {
  if (factor.data == nullptr) {
    return ForEach(x, {}, stream, [=] __device__(float value, float) { return function(value); });
  }
  ForEach(x, factor, stream, [=] __device__(float value, float other) { return function(value) * other; });
}

__global__ void NormalizeKernel(NormKind kind, View<const float> x, NormWeights weights, float eps, View<float> y) {
  __shared__ double sums[kMostWarps];
  const float* const from = x.data + blockIdx.x * x.stride;
  float* const to = y.data + blockIdx.x * y.stride;
  const bool whole = HasWholeQuads(x.data, x.stride), whole_out = HasWholeQuads(y.data, y.stride);
  AfterPrevious();
  const auto row = [&](std::size_t i) { return LoadQuad(from, i, x.cols, whole); };
  const auto each = [&](auto function) { EachQuad(x.cols, [&](std::size_t i) { function(row(i)); }); };
  const RowNorm norm = NormOfRow(kind, each, x.cols, eps, sums);
  EachQuad(x.cols, [&](std::size_t i) {
    Quad quad = row(i);
    norm.Apply(weights.Load(i, x.cols), weights.bias, i, quad);
    StoreQuad(to, i, whole_out, quad);
  });
}

}  // namespace

void Normalize(NormKind kind, View<const float> x, View<const float> weight, View<const float> bias, float eps,
               View<float> y, cudaStream_t stream) {
  if (x.rows * x.cols == 0) return;
  LaunchEarly(NormalizeKernel, Blocks(x.rows, 1), ThreadsOfRow(x.cols), 0, stream, kind, x,
              NormWeights{weight.data, bias.data}, eps, y);
}

void Activate(Activation activation, View<float> x, View<const float> factor, cudaStream_t stream) {
  WithActivation(activation, [&](auto function) { ActivateWith(function, x, factor, stream); });
}

void AddScaled(View<float> x, View<const float> y, float factor, cudaStream_t stream) {
  ForEach(x, y, stream, [=] __device__(float value, float other) { return __fmaf_rn(factor, other, value); });
}

void Multiply(View<float> x, float factor, cudaStream_t stream) {
  ForEach(x, {}, stream, [=] __device__(float value, float) { return value * factor; });
}

void SoftCap(View<float> x, float cap, cudaStream_t stream) {
  ForEach(x, {}, stream, [=] __device__(float value, float) { return cap * tanhf(value / cap); });
}

}  // namespace marlin::cuda
