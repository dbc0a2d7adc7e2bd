// Causal softmax attention of few tokens with keys and values in fp16, on the tensor cores: what decoding does. Queries
// and softmax weights are rounded to fp16, sums are fp32.
//
// A cluster of kSplit blocks serves 16 rows of one head of keys; a row is a token and one of the query heads that share
// it. Each of the cluster's warps takes 16 keys, then the next 16 that no other has, from the cache straight to the
// operands. In the end the blocks put their parts together, in one order.
#include <cuda_fp16.h>

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"

namespace marlin::cuda {
namespace {

constexpr int kRows = 16, kKeys = 16;
constexpr int kWarps = 4;
constexpr int kBlock = kWarps * kWarp;
constexpr int kSplit = 8;  // blocks of a cluster divide the keys
static_assert(kSplit * kRows == kBlock);

template <int kDim>
struct Few {
  static constexpr int kSteps = kDim / 16;       // of 16 columns, of queries x keys
  static constexpr int kTiles = kDim / 8;        // of 8 columns, of weights x values
  static constexpr int kOwn = kDim / 8;          // columns of values that a lane has: from (lane / 4) * kOwn on
  static constexpr int kPart = kRows * kDim;     // numbers of a warp
  static constexpr int kQuads = kPart / 4;       // of four
  static constexpr int kPeaks = kWarps * kPart;  // then peaks [warp][row], then sums; the block's are those of warp 0
  static constexpr int kBytes = (kPeaks + 2 * kWarps * kRows) * 4;
};

// The rows of a lane: lane / 4 and 8 more.
struct Row {
  bool real;
  std::size_t token, head;
  int position;
};

// Queries as operands A. Columns of a step stand in an order of their own, in which a lane's columns of keys lie
// together: columns 32 u + 8 t .. of lane t are those of steps 2 u and 2 u + 1.
template <int kDim>
__device__ void LoadQueries(View<const float> q, const Row (&rows)[2], int t,
                            std::uint32_t (&out)[Few<kDim>::kSteps][4]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float* const from = q.data + rows[half].token * q.stride + rows[half].head * kDim + t * 8;
#pragma unroll
    for (int u = 0; u < kDim / 32; ++u) {
      float v[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] = rows[half].real ? from[u * 32 + i] : 0.0f;
#pragma unroll
      for (int i = 0; i < 4; ++i) out[2 * u + i / 2][half + i % 2 * 2] = Pack(v[2 * i], v[2 * i + 1]);
    }
  }
}

// Columns of values that are a lane's, of one key.
template <int kDim>
__device__ void LoadValues(const __half* from, bool real, std::uint32_t (&out)[Few<kDim>::kOwn / 2]) {
  if constexpr (Few<kDim>::kOwn % 8 == 0) {
#pragma unroll
    for (int i = 0; i < Few<kDim>::kOwn / 8; ++i) {
      const uint4 v = LoadOr0(from + i * 8, real);
      out[4 * i] = v.x, out[4 * i + 1] = v.y, out[4 * i + 2] = v.z, out[4 * i + 3] = v.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < Few<kDim>::kOwn / 4; ++i) {
      const uint2 v = real ? reinterpret_cast<const uint2*>(from)[i] : make_uint2(0, 0);
      out[2 * i] = v.x, out[2 * i + 1] = v.y;
    }
  }
}

// A warp's part.
template <int kDim>
struct WarpState {
  float peak[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
  float output[Few<kDim>::kTiles][4] = {};
};

// Adds 16 keys to the part of a warp.
template <int kDim>
__device__ void AddKeys(const AttentionShape& shape, const __half* keys, const __half* values, std::size_t stride,
                        const std::uint32_t (&queries)[Few<kDim>::kSteps][4], const Row (&rows)[2], int window,
                        int first, int last, WarpState<kDim>& state) {
  const int lane = static_cast<int>(threadIdx.x % kWarp), g = lane / 4, t = lane % 4;
  uint4 own_keys[2][kDim / 32];
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const int key = first + 8 * n + g;
#pragma unroll
    for (int u = 0; u < kDim / 32; ++u) {
      own_keys[n][u] = LoadOr0(keys + static_cast<std::size_t>(key) * stride + u * 32 + t * 8, key <= last);
    }
  }
  std::uint32_t own_values[4][Few<kDim>::kOwn / 2];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int key = first + i / 2 * 8 + 2 * t + i % 2;
    LoadValues<kDim>(values + static_cast<std::size_t>(key) * stride + g * Few<kDim>::kOwn, key <= last, own_values[i]);
  }
  float scores[2][4] = {};
#pragma unroll
  for (int u = 0; u < kDim / 32; ++u) {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      MultiplyAdd(scores[n], queries[2 * u], own_keys[n][u].x, own_keys[n][u].y);
      MultiplyAdd(scores[n], queries[2 * u + 1], own_keys[n][u].z, own_keys[n][u].w);
    }
  }
  std::uint32_t weights[4];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float peak = state.peak[half];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float& score = scores[i / 2][half * 2 + i % 2];
      const int key = first + i / 2 * 8 + 2 * t + i % 2;
      score *= shape.scale;
      if (shape.softcap != 0) score = shape.softcap * tanhf(score / shape.softcap);
      if (key > rows[half].position || (window != 0 && key + window <= rows[half].position)) score = -INFINITY;
      peak = Peak(peak, score);
    }
    peak = Peak(peak, __shfl_xor_sync(0xffffffffu, peak, 1));
    peak = Peak(peak, __shfl_xor_sync(0xffffffffu, peak, 2));
    const float keep = Keep(state.peak[half], peak);
    float parts[4], sum = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      parts[i] = Keep(scores[i / 2][half * 2 + i % 2], peak);
      sum += parts[i];
    }
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    state.sum[half] = state.sum[half] * keep + sum;
    state.peak[half] = peak;
    weights[half] = Pack(parts[0], parts[1]);
    weights[half + 2] = Pack(parts[2], parts[3]);
#pragma unroll
    for (int j = 0; j < Few<kDim>::kTiles; ++j) {
      state.output[j][2 * half] *= keep;
      state.output[j][2 * half + 1] *= keep;
    }
  }
#pragma unroll
  for (int j = 0; j < Few<kDim>::kTiles; ++j) {
    MultiplyAdd(state.output[j], weights, SideBySide(own_values[0][j / 2], own_values[1][j / 2], j % 2 != 0),
                SideBySide(own_values[2][j / 2], own_values[3][j / 2], j % 2 != 0));
  }
}

// The four numbers of a lane: two of row RowOfQuad, then two of the row eight below. quad: [tile][lane].
__device__ int RowOfQuad(int quad) { return quad % kWarp / 4; }
__device__ void AddQuad(float4& sum, const float4& quad, const float* scales, int place) {
  const float lower = scales[RowOfQuad(place)], upper = scales[RowOfQuad(place) + 8];
  sum.x += quad.x * lower;
  sum.y += quad.y * lower;
  sum.z += quad.z * upper;
  sum.w += quad.w * upper;
}

// The softmax of `count` parts put together: the peak, and the sum of exp(score - peak).
template <class PeakOf, class SumOf>
__device__ void PutTogether(int count, PeakOf peak_of, SumOf sum_of, float& peak, float& sum) {
  peak = -INFINITY;
  for (int i = 0; i < count; ++i) peak = Peak(peak, peak_of(i));
  sum = 0;
  for (int i = 0; i < count; ++i) sum += sum_of(i) * Keep(peak_of(i), peak);
}

template <int kDim>
__global__ void __launch_bounds__(kBlock) AttendFewKernel(AttentionShape shape, View<const float> q, CacheView cache,
                                                          View<const std::int32_t> positions, View<float> out) {
#if MARLIN_HAS_BULK_COPIES
  using F = Few<kDim>;
  extern __shared__ __align__(16) float parts[];  // Few
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  const int g = lane / 4, t = lane % 4, rank = static_cast<int>(blockIdx.x);
  const std::size_t kv = blockIdx.y, group = shape.heads / cache.kv_heads, stride = cache.kv_heads * kDim;
  const auto row_of = [&](std::size_t r) {
    const std::size_t row = blockIdx.z * kRows + r;
    return Row{row < q.rows * group, row / group, kv * group + row % group, 0};
  };
  AfterPrevious();
  const int position = positions.data[0], last = position + static_cast<int>(q.rows) - 1;
  // A window that holds every position is none.
  const int window = shape.window > static_cast<std::size_t>(last) ? 0 : static_cast<int>(shape.window);
  const int start = window == 0 || window > position ? 0 : position + 1 - window;
  Row rows[2] = {row_of(static_cast<std::size_t>(g)), row_of(static_cast<std::size_t>(g) + 8)};
  for (Row& row : rows) row.position = position + static_cast<int>(row.token);
  std::uint32_t queries[F::kSteps][4];
  LoadQueries<kDim>(q, rows, t, queries);
  const auto* const keys = static_cast<const __half*>(cache.keys) + kv * kDim;
  const auto* const values = static_cast<const __half*>(cache.values) + kv * kDim;
  WarpState<kDim> state;
  for (int first = start + (rank * kWarps + warp) * kKeys; first <= last; first += kSplit * kWarps * kKeys) {
    AddKeys<kDim>(shape, keys, values, stride, queries, rows, window, first, last, state);
  }

  float* const peaks = parts + F::kPeaks;
  float* const sums = peaks + kWarps * kRows;
  auto* const quads = reinterpret_cast<float4*>(parts);  // [warp][tile][lane]: the four numbers of a lane
#pragma unroll
  for (int j = 0; j < F::kTiles; ++j) {
    const float(&own)[4] = state.output[j];
    quads[(warp * F::kTiles + j) * kWarp + lane] = make_float4(own[0], own[1], own[2], own[3]);
  }
  for (int half = 0; half < 2 && t == 0; ++half) {
    peaks[warp * kRows + g + 8 * half] = state.peak[half];
    sums[warp * kRows + g + 8 * half] = state.sum[half];
  }
  __syncthreads();
  // What the parts of warps, and later of blocks, are multiplied by.
  __shared__ float scales[kBlock];
  const std::size_t left = q.rows * group - blockIdx.z * kRows;
  const int count = left < kRows ? static_cast<int>(left) : kRows;  // rows that there are
  const int part = static_cast<int>(threadIdx.x) / kRows, row = static_cast<int>(threadIdx.x) % kRows;
  float peak = 0, sum = 0, keep = 0;
  if (part < kWarps) {
    PutTogether(
        kWarps, [&](int w) { return peaks[w * kRows + row]; }, [&](int w) { return sums[w * kRows + row]; }, peak, sum);
    keep = Keep(peaks[part * kRows + row], peak);
  }
  __syncthreads();
  scales[threadIdx.x] = keep;
  if (part == 0) {
    peaks[row] = peak;
    sums[row] = sum;
  }
  __syncthreads();
  // The block's part, where that of warp 0 was.
  for (int i = static_cast<int>(threadIdx.x); i < F::kQuads; i += kBlock) {
    float4 value = {};
#pragma unroll
    for (int w = 0; w < kWarps; ++w) AddQuad(value, quads[w * F::kQuads + i], scales + w * kRows, i);
    quads[i] = value;
  }
  ClusterSync();
  const auto of_block = [&](const float* at, int block) {
    return LoadInCluster(AddressInCluster(SharedAddress(at), block));
  };
  // Thread kRows b + r: of block b and row r.
  float block_peaks[kSplit], block_sums[kSplit];
#pragma unroll
  for (int b = 0; b < kSplit; ++b) {
    block_peaks[b] = of_block(peaks + row, b);
    block_sums[b] = of_block(sums + row, b);
  }
  PutTogether(
      kSplit, [&](int b) { return block_peaks[b]; }, [&](int b) { return block_sums[b]; }, peak, sum);
  scales[threadIdx.x] = Keep(of_block(peaks + row, part), peak) / sum;
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < F::kQuads / kSplit; i += kBlock) {
    const int quad = rank * (F::kQuads / kSplit) + i, first_row = RowOfQuad(quad);
    if (first_row >= count) continue;
    float4 value = {};
#pragma unroll
    for (int b = 0; b < kSplit; ++b) {
      AddQuad(value, LoadQuadInCluster(AddressInCluster(SharedAddress(quads + quad), b)), scales + b * kRows, quad);
    }
    const int col = quad % 4 * 2 * F::kOwn + quad / kWarp;
    const float numbers[4] = {value.x, value.y, value.z, value.w};
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      if (first_row + c / 2 * 8 >= count) continue;
      const Row own_row = row_of(static_cast<std::size_t>(first_row + c / 2 * 8));
      out.data[own_row.token * out.stride + own_row.head * kDim + col + c % 2 * F::kOwn] = numbers[c];
    }
  }
  ClusterSync();  // a block's shared memory lives until the others have read it
#endif
}

template <int kDim>
bool Launch(const AttentionShape& shape, View<const float> q, const CacheView& cache,
            View<const std::int32_t> positions, View<float> out, cudaStream_t stream) {
  const auto kernel = AttendFewKernel<kDim>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Few<kDim>::kBytes);
  const std::size_t rows = q.rows * (shape.heads / cache.kv_heads);
  const dim3 grid(kSplit, static_cast<unsigned>(cache.kv_heads), Blocks(rows, kRows));
  LaunchClusters(kernel, grid, kSplit, kBlock, Few<kDim>::kBytes, stream, shape, q, cache, positions, out);
  return true;
}

}  // namespace

bool AttendFewHalves(const AttentionShape& shape, View<const float> q, const CacheView& cache,
                     View<const std::int32_t> positions, View<float> out, cudaStream_t stream) {
  if (cache.head_dim == 64) return Launch<64>(shape, q, cache, positions, out, stream);
  if (cache.head_dim == 96) return Launch<96>(shape, q, cache, positions, out, stream);
  if (cache.head_dim == 128) return Launch<128>(shape, q, cache, positions, out, stream);
  if (cache.head_dim == 256) return Launch<256>(shape, q, cache, positions, out, stream);
  return false;
}

}  // namespace marlin::cuda
