// Rows of a matrix four columns at a time, for kernels whose blocks serve a row or a part of one. The code is short
// loops: a kernel that runs for microseconds would wait for its instructions otherwise.
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.h"

namespace marlin::cuda {

// Up to four neighbouring numbers; those beyond `count` are 0. They stay in registers while no index of v is computed.
struct Quad {
  float v[4] = {0, 0, 0, 0};
  int count = 0;

  __device__ void Set(const float4& x) { v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w; }
  __device__ float4 Get() const { return make_float4(v[0], v[1], v[2], v[3]); }
};

// Calls function(c) for c = 0 to count - 1.
template <class Function>
__device__ void EachOf(int count, Function function) {
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    if (c < count) function(c);
  }
}

__host__ __device__ inline bool HasWholeQuads(const void* data, std::size_t stride) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && stride % 4 == 0;
}

// Columns i to i + 3 of a row. whole: HasWholeQuads of its matrix.
__device__ inline Quad LoadQuad(const float* row, std::size_t i, std::size_t cols, bool whole) {
  Quad quad;
  quad.count = i >= cols ? 0 : cols - i < 4 ? static_cast<int>(cols - i) : 4;
  if (whole && quad.count == 4) {
    quad.Set(*reinterpret_cast<const float4*>(row + i));
  } else {
    EachOf(quad.count, [&](int c) { quad.v[c] = row[i + c]; });
  }
  return quad;
}
__device__ inline void StoreQuad(float* row, std::size_t i, bool whole, const Quad& quad) {
  if (whole && quad.count == 4) {
    *reinterpret_cast<float4*>(row + i) = quad.Get();
  } else {
    EachOf(quad.count, [&](int c) { row[i + c] = quad.v[c]; });
  }
}

// Calls function(first column) for the quads of this thread, of columns that its block serves.
template <class Function>
__device__ void EachQuad(std::size_t begin, std::size_t end, Function function) {
#pragma unroll 1
  for (std::size_t i = begin + threadIdx.x * 4; i < end; i += blockDim.x * 4) function(i);
}
template <class Function>
__device__ void EachQuad(std::size_t cols, Function function) {
  EachQuad(0, cols, function);
}

// Threads of a block that serves a row; each has so many quads, more only of very long rows. Blocks of few threads find
// a place beside those of other kernels.
inline constexpr std::size_t kQuadsOfThread = 4;
inline int ThreadsOfRow(std::size_t cols, std::size_t quads = kQuadsOfThread) {
  const std::size_t cols_of_warp = kWarp * quads * 4, warps = (cols + cols_of_warp - 1) / cols_of_warp;
  return static_cast<int>(warps < 1 ? 1 : warps > kMostWarps ? kMostWarps : warps) * kWarp;
}

// A part of a row, for kernels that change each number by itself: a block has 4 x kThreads columns.
struct RowPart {
  std::size_t row, col;  // the first column of this thread
};
constexpr std::size_t kColsOfPart = 4 * kThreads;
inline unsigned PartsOfRow(std::size_t cols) { return Blocks(cols, kColsOfPart); }
__device__ inline RowPart PartOfThread(unsigned parts) {
  return {blockIdx.x / parts, blockIdx.x % parts * kColsOfPart + threadIdx.x * 4};
}

}  // namespace marlin::cuda
