// Causal softmax attention of many tokens with keys and values in fp16, on the tensor cores. Queries and softmax
// weights are rounded to fp16, sums are fp32.
//
// A block serves 64 tokens of one head, a warp 16 of them. Tiles of 64 keys and values come through shared memory, the
// next while this one is multiplied.
#include <cuda_fp16.h>

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"

namespace marlin::cuda {
namespace {

constexpr int kTile = 64;  // tokens, and keys
constexpr int kWarps = kTile / 16;
constexpr int kBlock = kWarps * kWarp;

template <int kDim>
struct Shared {
  static constexpr int kStride = kDim + 8;  // of a row, in halves: rows begin in different banks
  static constexpr int kMatrix = kTile * kStride * 2;
  static constexpr int kBytes = 5 * kMatrix;  // queries, two tiles of keys and of values
};

// Rows of fp16 numbers to shared memory; those from `rows` on become zeros.
template <int kDim>
__device__ void CopyTile(const __half* from, std::size_t stride, int rows, std::uint32_t to) {
  constexpr int kUnits = kDim / 8;  // of 16 bytes
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kUnits; i += kBlock) {
    const int r = i / kUnits, unit = i % kUnits;
    const bool real = r < rows;
    CopyAsync(to + (r * Shared<kDim>::kStride + unit * 8) * 2, from + (real ? r * stride : 0) + unit * 8, real);
  }
}

template <int kDim>
__device__ void RoundQueries(View<const float> q, std::size_t first, std::size_t column, __half* to) {
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kDim / 2; i += kBlock) {
    const std::size_t r = static_cast<std::size_t>(i) / (kDim / 2), pair = static_cast<std::size_t>(i) % (kDim / 2);
    float2 value = {0, 0};
    if (first + r < q.rows) {
      const float* const from = q.data + (first + r) * q.stride + column + pair * 2;
      value = {from[0], from[1]};
    }
    *reinterpret_cast<__half2*>(to + r * Shared<kDim>::kStride + pair * 2) = __floats2half2_rn(value.x, value.y);
  }
}

// Over the four lanes that have a row.
template <class Combine>
__device__ float OverQuad(float value, Combine combine) {
  value = combine(value, __shfl_xor_sync(0xffffffffu, value, 1));
  return combine(value, __shfl_xor_sync(0xffffffffu, value, 2));
}

// Two rows of a lane, g and g + 8 of its warp's 16.
struct RowState {
  float peak[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
};

// Scores of a tile to softmax weights; the outputs so far are to be multiplied by `keep`.
__device__ void SoftmaxOfTile(const AttentionShape& shape, int window, int position, int key, float (&scores)[8][4],
                              RowState& state, float (&keep)[2]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int own = position + 8 * half;
    float peak = state.peak[half];
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float& score = scores[j][2 * half + c];
        const int at = key + 8 * j + c;
        score *= shape.scale;
        if (shape.softcap != 0) score = shape.softcap * tanhf(score / shape.softcap);
        if (at > own || (window != 0 && at + window <= own)) score = -INFINITY;
        peak = score > peak || score != score ? score : peak;
      }
    }
    peak = OverQuad(peak, [](float x, float y) { return y > x || y != y ? y : x; });
    keep[half] = state.peak[half] == -INFINITY ? 0.0f : __expf(state.peak[half] - peak);
    float sum = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float& score = scores[j][2 * half + c];
        score = score == -INFINITY ? 0.0f : __expf(score - peak);
        sum += score;
      }
    }
    state.sum[half] = state.sum[half] * keep[half] + OverQuad(sum, [](float x, float y) { return x + y; });
    state.peak[half] = peak;
  }
}

template <int kDim>
__global__ void __launch_bounds__(kBlock) AttendHalvesKernel(AttentionShape shape, View<const float> q, CacheView cache,
                                                             View<const std::int32_t> positions, View<float> out) {
  using S = Shared<kDim>;
  extern __shared__ __align__(16) std::uint8_t memory[];
  const std::uint32_t queries = SharedAddress(memory), tiles = queries + S::kMatrix;
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  // The last tokens have the most keys, so they start first.
  const std::size_t first = static_cast<std::size_t>(gridDim.x - 1 - blockIdx.x) * kTile, head = blockIdx.y;
  const std::size_t row = cache.kv_heads * kDim, kv = head / (shape.heads / cache.kv_heads) * kDim;
  const int rows = static_cast<int>(q.rows - first < kTile ? q.rows - first : kTile);
  const int position = positions.data[first * positions.stride], last = position + rows - 1;
  // A window that holds every position is none.
  const int window = shape.window > static_cast<std::size_t>(last) ? 0 : static_cast<int>(shape.window);
  const int start = window == 0 || window > position ? 0 : position + 1 - window;
  const auto* const keys = static_cast<const __half*>(cache.keys) + kv;
  const auto* const values = static_cast<const __half*>(cache.values) + kv;
  const auto copy = [&](int begin, int place) {
    if (begin > last) return;
    const int count = last + 1 - begin < kTile ? last + 1 - begin : kTile;
    const std::size_t at = static_cast<std::size_t>(begin) * row;
    CopyTile<kDim>(keys + at, row, count, tiles + 2 * place * S::kMatrix);
    CopyTile<kDim>(values + at, row, count, tiles + (2 * place + 1) * S::kMatrix);
  };
  copy(start, 0);
  CommitCopies();
  RoundQueries<kDim>(q, first, head * kDim, reinterpret_cast<__half*>(memory));

  // Where this lane reads 8 x 8 matrices: of queries and values, rows of 16 and then columns; of keys the other way.
  const int row_first = (lane % 16) * S::kStride + lane / 16 * 8;
  const int column_first = (lane / 16 * 8 + lane % 8) * S::kStride + lane / 8 % 2 * 8;
  const std::uint32_t own_queries = queries + (warp * 16 * S::kStride + row_first) * 2;
  RowState state;
  float output[kDim / 8][4] = {};
  int place = 0;
  for (int begin = start; begin <= last; begin += kTile, place ^= 1) {
    copy(begin + kTile, place ^ 1);
    CommitCopies();
    WaitForCopies<1>();
    __syncthreads();
    const std::uint32_t key_tile = tiles + 2 * place * S::kMatrix, value_tile = key_tile + S::kMatrix;
    float scores[8][4] = {};
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      std::uint32_t a[4];
      LoadMatrices(a, own_queries + k * 32);
#pragma unroll
      for (int j = 0; j < 8; j += 2) {
        std::uint32_t b[4];
        LoadMatrices(b, key_tile + (j * 8 * S::kStride + column_first + k * 16) * 2);
        MultiplyAdd(scores[j], a, b[0], b[1]);
        MultiplyAdd(scores[j + 1], a, b[2], b[3]);
      }
    }
    float keep[2];
    SoftmaxOfTile(shape, window, position + warp * 16 + lane / 4, begin + lane % 4 * 2, scores, state, keep);
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
#pragma unroll
      for (int c = 0; c < 4; ++c) output[j][c] *= keep[c / 2];
    }
#pragma unroll
    for (int k = 0; k < kTile / 16; ++k) {
      const std::uint32_t a[4] = {Pack(scores[2 * k][0], scores[2 * k][1]), Pack(scores[2 * k][2], scores[2 * k][3]),
                                  Pack(scores[2 * k + 1][0], scores[2 * k + 1][1]),
                                  Pack(scores[2 * k + 1][2], scores[2 * k + 1][3])};
#pragma unroll
      for (int j = 0; j < kDim / 8; j += 2) {
        std::uint32_t b[4];
        LoadTransposed(b, value_tile + (k * 16 * S::kStride + row_first + j * 8) * 2);
        MultiplyAdd(output[j], a, b[0], b[1]);
        MultiplyAdd(output[j + 1], a, b[2], b[3]);
      }
    }
    __syncthreads();
  }
  WaitForCopies<0>();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = warp * 16 + lane / 4 + 8 * half;
    if (r >= rows) continue;
    float* const to = out.data + (first + static_cast<std::size_t>(r)) * out.stride + head * kDim + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
      to[j * 8] = output[j][2 * half] / state.sum[half];
      to[j * 8 + 1] = output[j][2 * half + 1] / state.sum[half];
    }
  }
}

template <int kDim>
void Launch(const AttentionShape& shape, View<const float> q, const CacheView& cache,
            View<const std::int32_t> positions, View<float> out, cudaStream_t stream) {
  const auto kernel = AttendHalvesKernel<kDim>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Shared<kDim>::kBytes);
  const dim3 grid(Blocks(q.rows, kTile), static_cast<unsigned>(shape.heads));
  kernel<<<grid, kBlock, Shared<kDim>::kBytes, stream>>>(shape, q, cache, positions, out);
}

}  // namespace

bool AttendHalves(const AttentionShape& shape, View<const float> q, const CacheView& cache,
                  View<const std::int32_t> positions, View<float> out, cudaStream_t stream) {
  switch (cache.head_dim) {
    case 64:
      Launch<64>(shape, q, cache, positions, out, stream);
      return true;
    case 96:
      Launch<96>(shape, q, cache, positions, out, stream);
      return true;
    case 128:
      Launch<128>(shape, q, cache, positions, out, stream);
      return true;
    case 256:
      Launch<256>(shape, q, cache, positions, out, stream);
      return true;
    default:
      return false;
  }
}

}  // namespace marlin::cuda
