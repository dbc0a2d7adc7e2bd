// The operations of the CUDA backend on pointers into the device's memory: what cuda_backend.cc calls and the .cu files
// define. Each queues kernels on a stream and returns. Matrices are row-major; sizes are in elements. An operation on
// an empty matrix queues nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/backend.h"

// As CUDA's headers declare it.
using cudaStream_t = struct CUstream_st*;

namespace marlin::cuda {

template <class T>
struct View {
  T* data = nullptr;  // null = there is no matrix
  std::size_t rows = 0, cols = 0, stride = 0;
};

// How the codes of a weight become numbers.
enum class Coding : std::uint8_t { kTable, kFp16, kBf16, kFp32 };

// A weight matrix [rows, cols] as the plain kernels read it: weight = scale * (table[code] - zero) + bias, with the
// parameters of its group. Rows of codes begin `pitch` bytes apart, a multiple of 8.
struct PackedCodes {
  const std::uint8_t* codes = nullptr;
  std::size_t pitch = 0;
  std::size_t rows = 0, cols = 0;
  std::size_t groups = 0;  // of a row
  int group = 0;           // a multiple of 8
  int code_bits = 0;       // 4, 5, 6, 8, 16 or 32
  Coding coding = Coding::kTable;
  float power = 1;                      // of kFp16: the numbers are divided by it
  const float* table = nullptr;         // [1 << code_bits]
  const float* scales = nullptr;        // [rows][groups]
  const float* biases = nullptr;        // the same; null: none
  const std::uint8_t* zeros = nullptr;  // the same; null: none
};

// Rows of the matrix, decoded: out [count, cols] without gaps.
void DecodeRows(const PackedCodes& weight, std::size_t first, std::size_t count, float* out, cudaStream_t stream);
// out[i] = row tokens[i]
void EmbedRows(const PackedCodes& weight, View<const std::int32_t> tokens, View<float> out, cudaStream_t stream);
// out = x * weight^T + bias, for few tokens. A row of x has the same sums whatever it came with.
void MultiplyFew(const PackedCodes& weight, View<const float> bias, View<const float> x, View<float> out,
                 cudaStream_t stream);
// x[t] += row
void AddRow(View<const float> row, View<float> x, cudaStream_t stream);

void Normalize(NormKind kind, View<const float> x, View<const float> weight, View<const float> bias, float eps,
               View<float> y, cudaStream_t stream);
struct RopeTables {
  View<const float> cos, sin;  // [context, pairs]
  bool neighbours = false;
};
void Rotate(View<float> x, std::size_t head_dim, const RopeTables& tables, View<const std::int32_t> positions,
            cudaStream_t stream);

// Keys and values of one layer: [context][kv_heads * head_dim], fp32 or fp16.
struct CacheView {
  void* keys = nullptr;
  void* values = nullptr;
  bool halves = false;
  std::size_t kv_heads = 0, head_dim = 0;
};
void AppendRows(const CacheView& cache, View<const std::int32_t> positions, View<const float> keys,
                View<const float> values, cudaStream_t stream);
// The same of keys that are rotated first, as are the queries.
void RotateAndAppend(const CacheView& cache, View<const std::int32_t> positions, const RopeTables& of_queries,
                     View<float> queries, const RopeTables& of_keys, View<float> keys, View<const float> values,
                     cudaStream_t stream);
struct AttentionShape {
  std::size_t heads = 0;
  float scale = 0;
  std::size_t window = 0;
  float softcap = 0;
};
void Attend(const AttentionShape& shape, View<const float> q, const CacheView& cache,
            View<const std::int32_t> positions, View<float> out, cudaStream_t stream);

void Activate(Activation activation, View<float> x, View<const float> factor, cudaStream_t stream);  // factor: or none
void AddScaled(View<float> x, View<const float> y, float factor, cudaStream_t stream);
void Multiply(View<float> x, float factor, cudaStream_t stream);
void SoftCap(View<float> x, float cap, cudaStream_t stream);

void CrossEntropy(View<const float> logits, View<const std::int32_t> targets, View<double> nll, cudaStream_t stream);
void Divergence(View<const float> base, View<const float> other, View<const std::int32_t> targets, View<double> out,
                cudaStream_t stream);
void TopK(View<const float> x, View<float> values, View<std::int32_t> columns, cudaStream_t stream);
void Moments(View<const float> x, View<double> sums, View<float> largest, cudaStream_t stream);

// DenseAlgebra::Symmetrize; order without a matrix: as they are. T: float or double.
template <class T>
void Symmetrize(View<const float> upper, View<const std::int32_t> order, double factor, View<T> out,
                cudaStream_t stream);

}  // namespace marlin::cuda
