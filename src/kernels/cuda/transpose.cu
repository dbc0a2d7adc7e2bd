// Matrices with rows and columns exchanged.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/quantizer.h"

namespace marlin::cuda {
namespace {

// Rows of a tile that a block turns at a time.
constexpr int kTileRows = 8;

// out[c][r] = load(r, c)
template <class T, class Load>
__device__ void TransposeTile(std::size_t rows, std::size_t cols, Load load, View<T> out) {
  __shared__ T tile[kWarp][kWarp + 1];
  const unsigned lane = threadIdx.x % kWarp, first = threadIdx.x / kWarp;
  const std::size_t row = std::size_t{blockIdx.y} * kWarp, col = std::size_t{blockIdx.x} * kWarp;
  for (unsigned r = first; r < kWarp; r += kTileRows) {
    if (row + r < rows && col + lane < cols) tile[r][lane] = load(row + r, col + lane);
  }
  __syncthreads();
  for (unsigned r = first; r < kWarp; r += kTileRows) {
    if (col + r < cols && row + lane < rows) out.data[(col + r) * out.stride + row + lane] = tile[lane][r];
  }
}

__global__ void __launch_bounds__(kWarp* kTileRows) TransposeKernel(View<const float> from, View<float> to) {
  TransposeTile(
      from.rows, from.cols, [&](std::size_t r, std::size_t c) { return from.data[r * from.stride + c]; }, to);
}

__global__ void __launch_bounds__(kWarp* kTileRows) PackKernel(View<std::int32_t> codes, View<std::int32_t> bytes) {
  const auto load = [&](std::size_t word, std::size_t row) {
    std::int32_t packed = 0;
    for (std::size_t i = 0; i < 4 && word * 4 + i < codes.rows; ++i) {
      packed |= codes.data[(word * 4 + i) * codes.stride + row] << (8 * i);
    }
    return packed;
  };
  TransposeTile(bytes.cols, codes.cols, load, bytes);
}

dim3 TilesOf(std::size_t rows, std::size_t cols) { return {Blocks(cols, kWarp), Blocks(rows, kWarp)}; }

}  // namespace

void Transpose(View<const float> from, View<float> to, cudaStream_t stream) {
  if (from.rows * from.cols == 0) return;
  TransposeKernel<<<TilesOf(from.rows, from.cols), kWarp * kTileRows, 0, stream>>>(from, to);
}

void PackCodes(View<std::int32_t> codes, View<std::int32_t> bytes, cudaStream_t stream) {
  if (codes.rows * codes.cols == 0) return;
  PackKernel<<<TilesOf(bytes.cols, codes.cols), kWarp * kTileRows, 0, stream>>>(codes, bytes);
}

}  // namespace marlin::cuda
