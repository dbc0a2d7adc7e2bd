// A block of gptq: a thread rounds one row. What a row is fed lies in shared memory, the threads of a warp side by
// side.
#include "formats/round_row.h"
#include "kernels/cuda/format_number.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/quantizer.h"

namespace marlin::cuda {
namespace {

template <std::size_t kNumber>
__global__ void __launch_bounds__(kWarp) RoundKernel(CodedMatrix matrix, BlockToRound block) {
  extern __shared__ double fed[];  // [width][kWarp]
  const std::size_t lane = threadIdx.x, row = static_cast<std::size_t>(blockIdx.x) * kWarp + lane;
  if (row >= matrix.weights.cols) return;
  const std::size_t width = block.fed.rows;
  for (std::size_t i = 0; i < width; ++i) fed[i * kWarp + lane] = block.fed.data[i * block.fed.stride + row];
  RoundRowByGptq<FormatAt<kNumber>>({width,
                                     block.order,
                                     {matrix.weights.data + row, matrix.weights.stride},
                                     matrix.params + row * matrix.groups,
                                     block.pivots,
                                     block.feedback.data,
                                     block.feedback.stride,
                                     {fed + lane, std::size_t{kWarp}},
                                     {block.errors.data + row, block.errors.stride},
                                     {matrix.codes.data + row, matrix.codes.stride}});
}

}  // namespace

void RoundBlock(const CodedMatrix& matrix, const BlockToRound& block, cudaStream_t stream) {
  const std::size_t n = matrix.weights.cols, bytes = block.fed.rows * kWarp * sizeof(double);
  if (n * block.fed.rows == 0) return;
  WithFormatNumber(*matrix.format, [&](auto number) {
    RoundKernel<number><<<Blocks(n, kWarp), kWarp, bytes, stream>>>(matrix, block);
  });
}

}  // namespace marlin::cuda
