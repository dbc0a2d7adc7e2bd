// Keys and values of a sequence, and causal softmax attention over them.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.h"

namespace marlin::cuda {
namespace {

constexpr int kWarps = 4;  // of a block, which serves one head of one token

__global__ void AppendRowsKernel(CacheView cache, View<const std::int32_t> positions, View<const float> keys,
                                 View<const float> values) {
  const std::size_t i = GlobalThread();
  if (i >= keys.rows * keys.cols) return;
  const std::size_t t = i / keys.cols, col = i % keys.cols;
  const std::size_t to = static_cast<std::size_t>(positions.data[t * positions.stride]) * keys.cols + col;
  cache.keys[to] = keys.data[t * keys.stride + col];
  cache.values[to] = values.data[t * values.stride + col];
}

// The softmax of some scores so far, and the sum of their values: exp(score - peak).
template <int kPerLane>
struct Running {
  float peak, sum, values[kPerLane];
};

// kPerLane: elements of a head that a lane has, at 32 i + lane.
template <int kPerLane>
__global__ void AttendKernel(AttentionShape shape, View<const float> q, CacheView cache,
                             View<const std::int32_t> positions, View<float> out) {
  const std::size_t t = blockIdx.x, head = blockIdx.y, dim = cache.head_dim;
  const std::size_t kv = head / (shape.heads / cache.kv_heads) * dim, row = cache.kv_heads * dim;
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  const auto count = static_cast<std::size_t>(positions.data[t * positions.stride]) + 1;
  const std::size_t first = shape.window == 0 || shape.window > count ? 0 : count - shape.window;

  float query[kPerLane];
  for (int i = 0; i < kPerLane; ++i) {
    const std::size_t d = static_cast<std::size_t>(i) * kWarp + lane;
    query[i] = d < dim ? q.data[t * q.stride + head * dim + d] : 0.0f;
  }
  Running<kPerLane> own = {-INFINITY, 0, {}};
  for (std::size_t j = first + warp; j < count; j += kWarps) {
    float dot = 0;
    for (int i = 0; i < kPerLane; ++i) {
      const std::size_t d = static_cast<std::size_t>(i) * kWarp + lane;
      if (d < dim) dot = __fmaf_rn(query[i], cache.keys[j * row + kv + d], dot);
    }
    float score = SumOfWarp(dot) * shape.scale;
    if (shape.softcap != 0) score = shape.softcap * tanhf(score / shape.softcap);
    const float peak = score > own.peak || score != score ? score : own.peak;
    const float keep = own.sum == 0 ? 0.0f : expf(own.peak - peak), part = expf(score - peak);
    own.sum = own.sum * keep + part;
    for (int i = 0; i < kPerLane; ++i) {
      const std::size_t d = static_cast<std::size_t>(i) * kWarp + lane;
      if (d < dim) own.values[i] = __fmaf_rn(part, cache.values[j * row + kv + d], own.values[i] * keep);
    }
    own.peak = peak;
  }

  __shared__ float peaks[kWarps], sums[kWarps];
  __shared__ float values[kWarps][kPerLane * kWarp];
  if (lane == 0) {
    peaks[warp] = own.peak;
    sums[warp] = own.sum;
  }
  for (int i = 0; i < kPerLane; ++i) values[warp][i * kWarp + lane] = own.values[i];
  __syncthreads();
  float peak = -INFINITY;
  for (int w = 0; w < kWarps; ++w) peak = peaks[w] > peak || peaks[w] != peaks[w] ? peaks[w] : peak;
  float sum = 0;
  for (int w = 0; w < kWarps; ++w) sum += sums[w] == 0 ? 0.0f : sums[w] * expf(peaks[w] - peak);
  for (std::size_t d = threadIdx.x; d < dim; d += kWarps * kWarp) {
    float value = 0;
    for (int w = 0; w < kWarps; ++w) value += sums[w] == 0 ? 0.0f : values[w][d] * expf(peaks[w] - peak);
    out.data[t * out.stride + head * dim + d] = value / sum;
  }
}

}  // namespace

void AppendRows(const CacheView& cache, View<const std::int32_t> positions, View<const float> keys,
                View<const float> values, cudaStream_t stream) {
  if (keys.rows * keys.cols == 0) return;
  AppendRowsKernel<<<Blocks(keys.rows * keys.cols, kThreads), kThreads, 0, stream>>>(cache, positions, keys, values);
}

void Attend(const AttentionShape& shape, View<const float> q, const CacheView& cache,
            View<const std::int32_t> positions, View<float> out, cudaStream_t stream) {
  if (q.rows == 0) return;
  const dim3 grid(static_cast<unsigned>(q.rows), static_cast<unsigned>(shape.heads));
  const auto launch = [&]<int kPerLane>() {
    AttendKernel<kPerLane><<<grid, kWarps * kWarp, 0, stream>>>(shape, q, cache, positions, out);
  };
  const std::size_t per_lane = (cache.head_dim + kWarp - 1) / kWarp;
  if (per_lane <= 1) return launch.template operator()<1>();
  if (per_lane <= 2) return launch.template operator()<2>();
  if (per_lane <= 4) return launch.template operator()<4>();
  if (per_lane <= 8) return launch.template operator()<8>();
  launch.template operator()<static_cast<int>(kMaxHeadDim) / kWarp>();
}

}  // namespace marlin::cuda
