// What is measured of logits and activations; sums in double.
#include <cstdint>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.h"

namespace marlin::cuda {
namespace {

constexpr int kWide = 512;  // threads of a block, which serves a row of logits

struct Larger {
  __device__ float operator()(float a, float b) const { return a > b ? a : b; }
};

// softmax(x) = exp(x - peak - log_sum)
struct Softmax {
  double peak, log_sum;
};

__device__ Softmax SoftmaxOf(const float* row, std::size_t cols, double* scratch) {
  float peak = -INFINITY;
  for (std::size_t i = threadIdx.x; i < cols; i += kWide) peak = Larger()(row[i], peak);
  peak = OverBlock<kWide>(peak, reinterpret_cast<float*>(scratch), Larger());
  double sum = 0;
  for (std::size_t i = threadIdx.x; i < cols; i += kWide) sum += exp(static_cast<double>(row[i]) - peak);
  return {peak, log(OverBlock<kWide>(sum, scratch, Sum()))};
}

__device__ double NllOf(const Softmax& softmax, const float* row, std::int32_t target) {
  return softmax.log_sum + (softmax.peak - static_cast<double>(row[target]));
}

__global__ void __launch_bounds__(kWide)
    CrossEntropyKernel(View<const float> logits, View<const std::int32_t> targets, View<double> nll) {
  __shared__ double scratch[kWide];
  const float* const row = logits.data + blockIdx.x * logits.stride;
  const Softmax softmax = SoftmaxOf(row, logits.cols, scratch);
  if (threadIdx.x != 0) return;
  nll.data[blockIdx.x * nll.stride] = NllOf(softmax, row, targets.data[blockIdx.x * targets.stride]);
}

// A value and its column. NaN is larger than every number; the first of equals comes first.
struct Place {
  float value;
  std::int32_t column;
};
__device__ bool ComesBefore(const Place& a, const Place& b) {
  const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
  if (a_nan != b_nan) return a_nan;
  if (!a_nan && a.value != b.value) return a.value > b.value;
  return a.column < b.column;
}
constexpr std::int32_t kNoColumn = INT32_MAX;
struct First {
  __device__ Place operator()(const Place& a, const Place& b) const {
    if (a.column == kNoColumn) return b;
    if (b.column == kNoColumn) return a;
    return ComesBefore(a, b) ? a : b;
  }
};

// The first element that comes after `last`; all do where last has no column.
__device__ Place NextOf(const float* row, std::size_t cols, const Place& last, Place* scratch) {
  Place best = {0, kNoColumn};
  for (std::size_t i = threadIdx.x; i < cols; i += kWide) {
    const Place here = {row[i], static_cast<std::int32_t>(i)};
    if (last.column == kNoColumn || ComesBefore(last, here)) best = First()(best, here);
  }
  return OverBlock<kWide>(best, scratch, First());
}

// As the reference: sum q - p - p log(q / p), and p (expm1(t) - t) where p and q are near each other, t = log(q / p).
__device__ double KlOf(const float* x, const float* y, std::size_t cols, const Softmax& p, const Softmax& q,
                       double* scratch) {
  double sum = 0;
  for (std::size_t i = threadIdx.x; i < cols; i += kWide) {
    const double log_p = x[i] - p.peak - p.log_sum, log_q = y[i] - q.peak - q.log_sum;
    const double t = log_q - log_p;
    const double term = fabs(t) < 0.5 ? exp(log_p) * (expm1(t) - t) : exp(log_q) - exp(log_p) * (1 + t);
    sum += term < 0 ? 0 : term;
  }
  return OverBlock<kWide>(sum, scratch, Sum());
}

__global__ void __launch_bounds__(kWide) DivergenceKernel(View<const float> base, View<const float> other,
                                                          View<const std::int32_t> targets, View<double> out) {
  __shared__ double scratch[kWide];
  const float* const x = base.data + blockIdx.x * base.stride;
  const float* const y = other.data + blockIdx.x * other.stride;
  const Softmax p = SoftmaxOf(x, base.cols, scratch), q = SoftmaxOf(y, base.cols, scratch);
  const double kl = KlOf(x, y, base.cols, p, q, scratch);
  auto* const places = reinterpret_cast<Place*>(scratch);
  const std::int32_t top = NextOf(x, base.cols, {0, kNoColumn}, places).column;
  const std::int32_t other_top = NextOf(y, base.cols, {0, kNoColumn}, places).column;
  if (threadIdx.x != 0) return;
  const std::int32_t target = targets.data[blockIdx.x * targets.stride];
  double* const to = out.data + blockIdx.x * out.stride;
  to[0] = kl;
  to[1] = NllOf(p, x, target);
  to[2] = NllOf(q, y, target);
  to[3] = top == other_top ? 1 : 0;
}

__global__ void __launch_bounds__(kWide)
    TopKKernel(View<const float> x, View<float> values, View<std::int32_t> columns) {
  __shared__ Place scratch[kWide];
  Place last = {0, kNoColumn};
  for (std::size_t i = 0; i < values.cols; ++i) {
    last = NextOf(x.data + blockIdx.x * x.stride, x.cols, last, scratch);
    if (threadIdx.x != 0) continue;
    values.data[blockIdx.x * values.stride + i] = last.value;
    columns.data[blockIdx.x * columns.stride + i] = last.column;
  }
}

// A warp for each share of the rows, a lane for each of 32 columns.
constexpr int kShares = 32;
__global__ void MomentsKernel(View<const float> x, View<double> sums, View<float> largest) {
  __shared__ double squares_of[kShares][kWarp], sizes_of[kShares][kWarp];
  __shared__ float most_of[kShares][kWarp];
  const unsigned lane = threadIdx.x % kWarp, share = threadIdx.x / kWarp;
  const std::size_t col = static_cast<std::size_t>(blockIdx.x) * kWarp + lane;
  double squares = 0, sizes = 0;
  float most = 0;
  for (std::size_t t = share; col < x.cols && t < x.rows; t += kShares) {
    const float value = x.data[t * x.stride + col];
    squares += static_cast<double>(value) * static_cast<double>(value);
    sizes += fabs(static_cast<double>(value));
    most = Larger()(fabsf(value), most);
  }
  squares_of[share][lane] = squares;
  sizes_of[share][lane] = sizes;
  most_of[share][lane] = most;
  __syncthreads();
  if (share != 0 || col >= x.cols) return;
  for (int s = 1; s < kShares; ++s) {
    squares += squares_of[s][lane];
    sizes += sizes_of[s][lane];
    most = Larger()(most_of[s][lane], most);
  }
  sums.data[col] = squares;
  sums.data[sums.stride + col] = sizes;
  largest.data[col] = most;
}

}  // namespace

void CrossEntropy(View<const float> logits, View<const std::int32_t> targets, View<double> nll, cudaStream_t stream) {
  if (logits.rows == 0) return;
  CrossEntropyKernel<<<static_cast<unsigned>(logits.rows), kWide, 0, stream>>>(logits, targets, nll);
}

void Divergence(View<const float> base, View<const float> other, View<const std::int32_t> targets, View<double> out,
                cudaStream_t stream) {
  if (base.rows == 0) return;
  DivergenceKernel<<<static_cast<unsigned>(base.rows), kWide, 0, stream>>>(base, other, targets, out);
}

void TopK(View<const float> x, View<float> values, View<std::int32_t> columns, cudaStream_t stream) {
  if (x.rows == 0 || values.cols == 0) return;
  TopKKernel<<<static_cast<unsigned>(x.rows), kWide, 0, stream>>>(x, values, columns);
}

void Moments(View<const float> x, View<double> sums, View<float> largest, cudaStream_t stream) {
  if (x.cols == 0) return;
  MomentsKernel<<<Blocks(x.cols, kWarp), kShares * kWarp, 0, stream>>>(x, sums, largest);
}

}  // namespace marlin::cuda
