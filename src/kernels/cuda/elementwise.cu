// Operations on each element, each pair or each row of a matrix.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/norm.cuh"
#include "kernels/cuda/operations.h"

namespace marlin::cuda {
namespace {

template <class Function>
__global__ void ForEachKernel(View<float> x, Function function) {
  const std::size_t i = GlobalThread();
  if (i >= x.rows * x.cols) return;
  const std::size_t t = i / x.cols, col = i % x.cols;
  float& value = x.data[t * x.stride + col];
  value = function(value, t, col);
}

// x[t][i] = function(x[t][i], t, i)
template <class Function>
void ForEach(View<float> x, cudaStream_t stream, Function function) {
  if (x.rows * x.cols == 0) return;
  ForEachKernel<<<Blocks(x.rows * x.cols, kThreads), kThreads, 0, stream>>>(x, function);
}

struct Silu {
  __device__ float operator()(float x) const { return x / (1 + expf(-x)); }
};
struct Gelu {
  // In double: the functions of float are several units off where x is far below 0.
  __device__ float operator()(float x) const { return static_cast<float>(normcdf(static_cast<double>(x)) * x); }
};
struct GeluTanh {
  __device__ float operator()(float x) const {
    return 0.5f * x * (1 + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
  }
};

template <class Function>
void ActivateWith(Function function, View<float> x, View<const float> factor, cudaStream_t stream) {
  ForEach(x, stream, [=] __device__(float value, std::size_t t, std::size_t i) {
    const float active = function(value);
    return factor.data == nullptr ? active : active * factor.data[t * factor.stride + i];
  });
}

__global__ void NormalizeKernel(NormKind kind, View<const float> x, const float* weight, const float* bias, float eps,
                                View<float> y) {
  __shared__ double scratch[kThreads];
  const float* const from = x.data + blockIdx.x * x.stride;
  float* const to = y.data + blockIdx.x * y.stride;
  const RowNorm norm = NormOfRow(kind, from, x.cols, eps, weight, bias, scratch);
  for (std::size_t i = threadIdx.x; i < x.cols; i += kThreads) to[i] = norm.Of(from[i], i);
}

__global__ void RotateKernel(View<float> x, std::size_t head_dim, View<const float> cos, View<const float> sin,
                             View<const std::int32_t> positions, bool neighbours) {
  const std::size_t pairs = cos.cols, heads = x.cols / head_dim;
  const std::size_t i = GlobalThread();
  if (i >= x.rows * heads * pairs) return;
  const std::size_t t = i / (heads * pairs), head = i / pairs % heads, pair = i % pairs;
  const auto position = static_cast<std::size_t>(positions.data[t * positions.stride]);
  float* const row = x.data + t * x.stride + head * head_dim;
  float& a = row[neighbours ? 2 * pair : pair];
  float& b = row[neighbours ? 2 * pair + 1 : pairs + pair];
  const float c = cos.data[position * cos.stride + pair], s = sin.data[position * sin.stride + pair];
  const float old_a = a, old_b = b;
  a = __fmaf_rn(old_a, c, -__fmul_rn(old_b, s));
  b = __fmaf_rn(old_b, c, __fmul_rn(old_a, s));
}

}  // namespace

void Normalize(NormKind kind, View<const float> x, View<const float> weight, View<const float> bias, float eps,
               View<float> y, cudaStream_t stream) {
  if (x.rows * x.cols == 0) return;
  NormalizeKernel<<<static_cast<unsigned>(x.rows), kThreads, 0, stream>>>(kind, x, weight.data, bias.data, eps, y);
}

void Rotate(View<float> x, std::size_t head_dim, View<const float> cos, View<const float> sin,
            View<const std::int32_t> positions, bool neighbours, cudaStream_t stream) {
  const std::size_t pairs = x.rows * (x.cols / head_dim) * cos.cols;
  if (pairs == 0) return;
  RotateKernel<<<Blocks(pairs, kThreads), kThreads, 0, stream>>>(x, head_dim, cos, sin, positions, neighbours);
}

void Activate(Activation activation, View<float> x, View<const float> factor, cudaStream_t stream) {
  switch (activation) {
    case Activation::kSilu:
      return ActivateWith(Silu(), x, factor, stream);
    case Activation::kGelu:
      return ActivateWith(Gelu(), x, factor, stream);
    case Activation::kGeluTanh:
      return ActivateWith(GeluTanh(), x, factor, stream);
  }
}

void AddScaled(View<float> x, View<const float> y, float factor, cudaStream_t stream) {
  ForEach(x, stream, [=] __device__(float value, std::size_t t, std::size_t i) {
    return __fmaf_rn(factor, y.data[t * y.stride + i], value);
  });
}

void Multiply(View<float> x, float factor, cudaStream_t stream) {
  ForEach(x, stream, [=] __device__(float value, std::size_t, std::size_t) { return value * factor; });
}

void SoftCap(View<float> x, float cap, cudaStream_t stream) {
  ForEach(x, stream, [=] __device__(float value, std::size_t, std::size_t) { return cap * tanhf(value / cap); });
}

}  // namespace marlin::cuda
