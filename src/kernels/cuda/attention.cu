// Causal softmax attention over the keys and values of a sequence, with sums in fp32.
#include <cuda_fp16.h>

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.h"

namespace marlin::cuda {
namespace {

constexpr int kWarps = 4;  // of a block, which serves one head of one token

__device__ float FloatOf(float value) { return value; }
__device__ float FloatOf(__half value) { return __half2float(value); }

// The softmax of some scores so far, and the sum of their values: exp(score - peak).
template <int kPerLane>
struct Running {
  float peak, sum, values[kPerLane];
};

// kPerLane: elements of a head that a lane has, at 32 i + lane.
template <int kPerLane, class Element>
__global__ void AttendKernel(AttentionShape shape, View<const float> q, CacheView cache,
                             View<const std::int32_t> positions, View<float> out) {
  const std::size_t t = blockIdx.x, head = blockIdx.y, dim = cache.head_dim;
  const std::size_t kv = head / (shape.heads / cache.kv_heads) * dim, row = cache.kv_heads * dim;
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  const auto count = static_cast<std::size_t>(positions.data[t * positions.stride]) + 1;
  const std::size_t first = shape.window == 0 || shape.window > count ? 0 : count - shape.window;

  const auto* const keys = static_cast<const Element*>(cache.keys) + kv;
  const auto* const all_values = static_cast<const Element*>(cache.values) + kv;
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
      if (d < dim) dot = __fmaf_rn(query[i], FloatOf(keys[j * row + d]), dot);
    }
    float score = SumOfWarp(dot) * shape.scale;
    if (shape.softcap != 0) score = shape.softcap * tanhf(score / shape.softcap);
    const float peak = score > own.peak || score != score ? score : own.peak;
    const float keep = own.sum == 0 ? 0.0f : expf(own.peak - peak), part = expf(score - peak);
    own.sum = own.sum * keep + part;
    for (int i = 0; i < kPerLane; ++i) {
      const std::size_t d = static_cast<std::size_t>(i) * kWarp + lane;
      if (d < dim) own.values[i] = __fmaf_rn(part, FloatOf(all_values[j * row + d]), own.values[i] * keep);
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

// Many tokens: a block serves kTile of them and one head, over tiles of as many keys. Its 16 x 16 threads have rows ty
// + 16 i and columns tx + 16 j, of the scores as of the output. kDim: elements of a head, padded.
constexpr int kSide = 16;

template <int kTile, int kDim>
struct Tiles {
  static constexpr int kStride = kDim + 4;  // of a row; neighbours begin in different banks
  static constexpr int kRows = kTile / kSide, kCols = kDim / kSide;
  static constexpr std::size_t kBytes = (3 * kTile * kStride + kTile * (kTile + 1)) * sizeof(float);
};

// Rows of a matrix to shared memory, with zeros for those that there are not.
template <int kTile, int kDim, class Element>
__device__ void LoadTile(const Element* from, std::size_t stride, int rows, int dim, float* to) {
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kDim; i += kSide * kSide) {
    const int r = i / kDim, d = i % kDim;
    to[r * Tiles<kTile, kDim>::kStride + d] =
        r < rows && d < dim ? FloatOf(from[static_cast<std::size_t>(r) * stride + d]) : 0.0f;
  }
}

// Over the 16 threads of a row.
template <class Combine>
__device__ float OverRow(float value, Combine combine) {
  for (int step = kSide / 2; step > 0; step /= 2) {
    value = combine(value, __shfl_xor_sync(0xffffffffu, value, step, kSide));
  }
  return value;
}

template <int kTile, int kDim, class Element>
__global__ void __launch_bounds__(kSide* kSide)
    AttendManyKernel(AttentionShape shape, View<const float> q, CacheView cache, View<const std::int32_t> positions,
                     View<float> out) {
  using T = Tiles<kTile, kDim>;
  extern __shared__ float memory[];
  float* const queries = memory;
  float* const keys = queries + kTile * T::kStride;
  float* const values = keys + kTile * T::kStride;
  float* const parts = values + kTile * T::kStride;  // [kTile][kTile + 1]
  const int dim = static_cast<int>(cache.head_dim), tx = threadIdx.x % kSide, ty = threadIdx.x / kSide;
  const std::size_t first = static_cast<std::size_t>(blockIdx.x) * kTile, head = blockIdx.y;
  const std::size_t row = cache.kv_heads * cache.head_dim, kv = head / (shape.heads / cache.kv_heads) * cache.head_dim;
  const int rows = static_cast<int>(q.rows - first < kTile ? q.rows - first : kTile);
  const int position = positions.data[first * positions.stride], last = position + rows - 1;
  // A window that holds every position is none.
  const int window = shape.window > static_cast<std::size_t>(last) ? 0 : static_cast<int>(shape.window);
  const bool none = window == 0 || window > position;
  LoadTile<kTile, kDim>(q.data + first * q.stride + head * cache.head_dim, q.stride, rows, dim, queries);

  float sums[T::kRows] = {}, peaks[T::kRows], output[T::kRows][T::kCols] = {};
  for (float& peak : peaks) peak = -INFINITY;
  for (int begin = none ? 0 : position + 1 - window; begin <= last; begin += kTile) {
    const int count = last + 1 - begin < kTile ? last + 1 - begin : kTile;
    const std::size_t at = static_cast<std::size_t>(begin) * row + kv;
    __syncthreads();
    LoadTile<kTile, kDim>(static_cast<const Element*>(cache.keys) + at, row, count, dim, keys);
    LoadTile<kTile, kDim>(static_cast<const Element*>(cache.values) + at, row, count, dim, values);
    __syncthreads();
    float scores[T::kRows][T::kRows] = {};
    for (int d = 0; d < kDim; d += 4) {
      float4 a[T::kRows], b[T::kRows];
#pragma unroll
      for (int i = 0; i < T::kRows; ++i) {
        a[i] = *reinterpret_cast<const float4*>(queries + (ty + kSide * i) * T::kStride + d);
        b[i] = *reinterpret_cast<const float4*>(keys + (tx + kSide * i) * T::kStride + d);
      }
#pragma unroll
      for (int i = 0; i < T::kRows; ++i) {
#pragma unroll
        for (int j = 0; j < T::kRows; ++j) {
          scores[i][j] = __fmaf_rn(a[i].x, b[j].x, scores[i][j]);
          scores[i][j] = __fmaf_rn(a[i].y, b[j].y, scores[i][j]);
          scores[i][j] = __fmaf_rn(a[i].z, b[j].z, scores[i][j]);
          scores[i][j] = __fmaf_rn(a[i].w, b[j].w, scores[i][j]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < T::kRows; ++i) {
      const int own = position + ty + kSide * i;  // the position of this row
      float peak = peaks[i];
#pragma unroll
      for (int j = 0; j < T::kRows; ++j) {
        const int key = begin + tx + kSide * j;
        float score = scores[i][j] * shape.scale;
        if (shape.softcap != 0) score = shape.softcap * tanhf(score / shape.softcap);
        scores[i][j] = key > own || (window != 0 && key + window <= own) ? -INFINITY : score;
        peak = scores[i][j] > peak || scores[i][j] != scores[i][j] ? scores[i][j] : peak;
      }
      peak = OverRow(peak, [](float x, float y) { return y > x || y != y ? y : x; });
      const float keep = peaks[i] == -INFINITY ? 0.0f : expf(peaks[i] - peak);
      float sum = 0;
#pragma unroll
      for (int j = 0; j < T::kRows; ++j) {
        const float part = scores[i][j] == -INFINITY ? 0.0f : expf(scores[i][j] - peak);
        parts[(ty + kSide * i) * (kTile + 1) + tx + kSide * j] = part;
        sum += part;
      }
      sums[i] = sums[i] * keep + OverRow(sum, [](float x, float y) { return x + y; });
      peaks[i] = peak;
#pragma unroll
      for (int c = 0; c < T::kCols; ++c) output[i][c] *= keep;
    }
    __syncwarp();
    for (int key = 0; key < count; ++key) {
      float part[T::kRows];
#pragma unroll
      for (int i = 0; i < T::kRows; ++i) part[i] = parts[(ty + kSide * i) * (kTile + 1) + key];
#pragma unroll
      for (int c = 0; c < T::kCols; ++c) {
        const float value = values[key * T::kStride + tx + kSide * c];
#pragma unroll
        for (int i = 0; i < T::kRows; ++i) output[i][c] = __fmaf_rn(part[i], value, output[i][c]);
      }
    }
    __syncwarp();
  }
#pragma unroll
  for (int i = 0; i < T::kRows; ++i) {
    const int r = ty + kSide * i;
    float* const to = out.data + (first + static_cast<std::size_t>(r)) * out.stride + head * cache.head_dim;
#pragma unroll
    for (int c = 0; c < T::kCols; ++c) {
      const int d = tx + kSide * c;
      if (r < rows && d < dim) to[d] = output[i][c] / sums[i];
    }
  }
}

template <int kTile, int kDim, class Element>
void AttendMany(const AttentionShape& shape, View<const float> q, const CacheView& cache,
                View<const std::int32_t> positions, View<float> out, cudaStream_t stream) {
  constexpr std::size_t kBytes = Tiles<kTile, kDim>::kBytes;
  const auto kernel = AttendManyKernel<kTile, kDim, Element>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kBytes));
  const dim3 grid(Blocks(q.rows, kTile), static_cast<unsigned>(shape.heads));
  kernel<<<grid, kSide * kSide, kBytes, stream>>>(shape, q, cache, positions, out);
}

// From so many tokens on, whose keys are read once for many of them.
constexpr std::size_t kManyTokens = 24;

template <class Element>
void AttendOver(const AttentionShape& shape, View<const float> q, const CacheView& cache,
                View<const std::int32_t> positions, View<float> out, cudaStream_t stream) {
  const std::size_t dim = cache.head_dim;
  if (q.rows >= kManyTokens && dim <= 64) return AttendMany<32, 64, Element>(shape, q, cache, positions, out, stream);
  if (q.rows >= kManyTokens && dim <= 128) return AttendMany<64, 128, Element>(shape, q, cache, positions, out, stream);
  if (q.rows >= kManyTokens && dim <= 256) return AttendMany<32, 256, Element>(shape, q, cache, positions, out, stream);
  const dim3 grid(static_cast<unsigned>(q.rows), static_cast<unsigned>(shape.heads));
  const auto launch = [&]<int kPerLane>() {
    AttendKernel<kPerLane, Element><<<grid, kWarps * kWarp, 0, stream>>>(shape, q, cache, positions, out);
  };
  const std::size_t per_lane = (dim + kWarp - 1) / kWarp;
  if (per_lane <= 1) return launch.template operator()<1>();
  if (per_lane <= 2) return launch.template operator()<2>();
  if (per_lane <= 4) return launch.template operator()<4>();
  if (per_lane <= 8) return launch.template operator()<8>();
  launch.template operator()<static_cast<int>(kMaxHeadDim) / kWarp>();
}

}  // namespace

void Attend(const AttentionShape& shape, View<const float> q, const CacheView& cache,
            View<const std::int32_t> positions, View<float> out, cudaStream_t stream) {
  if (q.rows == 0) return;
  if (!cache.halves) return AttendOver<float>(shape, q, cache, positions, out, stream);
  const bool many = q.rows >= kManyTokens;
  if (many && AttendHalves(shape, q, cache, positions, out, stream)) return;
  if (!many && AttendFewHalves(shape, q, cache, positions, out, stream)) return;
  AttendOver<__half>(shape, q, cache, positions, out, stream);
}

}  // namespace marlin::cuda
