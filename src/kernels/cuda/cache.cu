// Rotary positions, and rows of keys and values that enter a cache.
#include <cuda_fp16.h>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/rope.cuh"

namespace marlin::cuda {
namespace {

// Pair number `pair` of the row of x, counted over all heads.
__device__ void RotatePair(View<float> x, std::size_t t, std::size_t head_dim, const RopeTables& tables,
                           std::size_t position, std::size_t pair) {
  const std::size_t pairs = tables.cos.cols;
  float* const head = x.data + t * x.stride + pair / pairs * head_dim;
  const RotatedPair rotated = Rotated(tables, position, head, pair % pairs);
  head[rotated.first] = rotated.a;
  head[rotated.second] = rotated.b;
}

__global__ void RotateKernel(View<float> x, std::size_t head_dim, RopeTables tables,
                             View<const std::int32_t> positions) {
  const std::size_t of_row = x.cols / head_dim * tables.cos.cols;
  const std::size_t i = GlobalThread();
  AfterPrevious();
  if (i >= x.rows * of_row) return;
  const std::size_t t = i / of_row;
  const auto position = static_cast<std::size_t>(positions.data[t * positions.stride]);
  RotatePair(x, t, head_dim, tables, position, i % of_row);
}

template <class Element>
__global__ void AppendRowsKernel(CacheView cache, View<const std::int32_t> positions, View<const float> keys,
                                 View<const float> values) {
  const std::size_t i = GlobalThread();
  AfterPrevious();
  if (i >= keys.rows * keys.cols) return;
  const std::size_t t = i / keys.cols, col = i % keys.cols;
  const std::size_t to = static_cast<std::size_t>(positions.data[t * positions.stride]) * keys.cols + col;
  static_cast<Element*>(cache.keys)[to] = static_cast<Element>(keys.data[t * keys.stride + col]);
  static_cast<Element*>(cache.values)[to] = static_cast<Element>(values.data[t * values.stride + col]);
}

// Work of a row, one thread for each: pairs of queries, then pairs of keys, then columns of keys that do not turn, then
// columns of values.
struct RowWork {
  std::size_t queries, keys, rest, values;
  __host__ __device__ std::size_t all() const { return queries + keys + rest + values; }
};

template <class Element>
__global__ void RotateAndAppendKernel(CacheView cache, View<const std::int32_t> positions, RopeTables of_queries,
                                      View<float> queries, RopeTables of_keys, View<float> keys,
                                      View<const float> values, RowWork work) {
  const std::size_t t = GlobalThread() / work.all(), dim = cache.head_dim;
  std::size_t i = GlobalThread() % work.all();
  AfterPrevious();
  if (t >= queries.rows) return;
  const auto position = static_cast<std::size_t>(positions.data[t * positions.stride]);
  if (i < work.queries) return RotatePair(queries, t, dim, of_queries, position, i);
  i -= work.queries;
  auto* const to = static_cast<Element*>(cache.keys) + position * keys.cols;
  float* const row = keys.data + t * keys.stride;
  const std::size_t pairs = of_keys.cos.cols, rest = dim - 2 * pairs;
  if (i < work.keys) {
    const std::size_t head = i / pairs * dim;
    const RotatedPair rotated = Rotated(of_keys, position, row + head, i % pairs);
    row[head + rotated.first] = rotated.a;
    row[head + rotated.second] = rotated.b;
    to[head + rotated.first] = static_cast<Element>(rotated.a);
    to[head + rotated.second] = static_cast<Element>(rotated.b);
    return;
  }
  i -= work.keys;
  if (i < work.rest) {
    const std::size_t col = i / rest * dim + 2 * pairs + i % rest;
    to[col] = static_cast<Element>(row[col]);
    return;
  }
  i -= work.rest;
  static_cast<Element*>(cache.values)[position * keys.cols + i] =
      static_cast<Element>(values.data[t * values.stride + i]);
}

}  // namespace

void Rotate(View<float> x, std::size_t head_dim, const RopeTables& tables, View<const std::int32_t> positions,
            cudaStream_t stream) {
  const std::size_t pairs = x.rows * (x.cols / head_dim) * tables.cos.cols;
  if (pairs == 0) return;
  LaunchEarly(RotateKernel, Blocks(pairs, kThreads), kThreads, 0, stream, x, head_dim, tables, positions);
}

void AppendRows(const CacheView& cache, View<const std::int32_t> positions, View<const float> keys,
                View<const float> values, cudaStream_t stream) {
  if (keys.rows * keys.cols == 0) return;
  const auto kernel = cache.halves ? AppendRowsKernel<__half> : AppendRowsKernel<float>;
  LaunchEarly(kernel, Blocks(keys.rows * keys.cols, kThreads), kThreads, 0, stream, cache, positions, keys, values);
}

void RotateAndAppend(const CacheView& cache, View<const std::int32_t> positions, const RopeTables& of_queries,
                     View<float> queries, const RopeTables& of_keys, View<float> keys, View<const float> values,
                     cudaStream_t stream) {
  const std::size_t dim = cache.head_dim, pairs = of_keys.cos.cols;
  const RowWork work = {queries.cols / dim * of_queries.cos.cols, cache.kv_heads * pairs,
                        cache.kv_heads * (dim - 2 * pairs), values.cols};
  const std::size_t threads = queries.rows * work.all();
  if (threads == 0) return;
  const auto kernel = cache.halves ? RotateAndAppendKernel<__half> : RotateAndAppendKernel<float>;
  LaunchEarly(kernel, Blocks(threads, kThreads), kThreads, 0, stream, cache, positions, of_queries, queries, of_keys,
              keys, values, work);
}

}  // namespace marlin::cuda
