// A block of a coordinate descent: a thread improves one row. What it reads again and again lies in shared memory, the
// threads of a warp side by side.
#include <algorithm>

#include "formats/descend_row.h"
#include "kernels/cuda/format_number.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/quantizer.h"

namespace marlin::cuda {
namespace {

template <class F>
constexpr std::size_t kGroup = F::kInfo.group;

template <std::size_t kNumber>
__global__ void __launch_bounds__(kWarp) FindErrorsKernel(CodedMatrix matrix, View<float> errors) {
  using F = FormatAt<kNumber>;
  const std::size_t row = GlobalThread();
  if (row >= matrix.weights.cols) return;
  for (std::size_t column = blockIdx.y; column < matrix.weights.rows; column += gridDim.y) {
    const auto code = static_cast<std::uint32_t>(matrix.codes.data[column * matrix.codes.stride + row]);
    const float value = F::Decode(code, matrix.params[row * matrix.groups + column / kGroup<F>]);
    errors.data[column * errors.stride + row] = matrix.weights.data[column * matrix.weights.stride + row] - value;
  }
}

// Blocks of a grid's second axis.
constexpr std::size_t kMostColumnBlocks = 65535;

// Vectors over the columns of a block that a thread keeps.
template <class F>
constexpr std::size_t kVectors = HasBias(F::kInfo) ? 4 : 3;

template <std::size_t kNumber>
__global__ void __launch_bounds__(kWarp) DescendKernel(CodedMatrix matrix, BlockToDescend block) {
  extern __shared__ float memory[];  // [kVectors][width][kWarp]
  using F = FormatAt<kNumber>;
  const std::size_t lane = threadIdx.x, row = static_cast<std::size_t>(blockIdx.x) * kWarp + lane;
  if (row >= matrix.weights.cols) return;
  const std::size_t width = block.gradient.rows, low = block.low;
  const auto vector = [&](std::size_t i) {
    return Strided<float>{memory + i * width * kWarp + lane, std::size_t{kWarp}};
  };
  const Strided<float> gradient = vector(0);
  for (std::size_t i = 0; i < width; ++i) gradient[i] = block.gradient.data[i * block.gradient.stride + row];
  RowImprover<F> improver({width,
                           block.square.data,
                           block.square.stride,
                           {matrix.weights.data + low * matrix.weights.stride + row, matrix.weights.stride},
                           {block.errors.data + low * block.errors.stride + row, block.errors.stride},
                           {matrix.codes.data + low * matrix.codes.stride + row, matrix.codes.stride},
                           matrix.params + row * matrix.groups + low / kGroup<F>,
                           gradient,
                           vector(1),
                           vector(2),
                           vector(kVectors<F> - 1)});
  if (improver.Run()) *block.changed = 1;
}

}  // namespace

void FindErrors(const CodedMatrix& matrix, View<float> errors, cudaStream_t stream) {
  const std::size_t n = matrix.weights.cols, k = matrix.weights.rows;
  if (n * k == 0) return;
  WithFormatNumber(*matrix.format, [&](auto number) {
    const dim3 grid(Blocks(n, kWarp), static_cast<unsigned>(std::min(k, kMostColumnBlocks)));
    FindErrorsKernel<number><<<grid, kWarp, 0, stream>>>(matrix, errors);
  });
}

void DescendBlock(const CodedMatrix& matrix, const BlockToDescend& block, cudaStream_t stream) {
  const std::size_t n = matrix.weights.cols, width = block.gradient.rows;
  if (n * width == 0) return;
  WithFormatNumber(*matrix.format, [&](auto number) {
    const std::size_t bytes = kVectors<FormatAt<number>> * width * kWarp * sizeof(float);
    cudaFuncSetAttribute(DescendKernel<number>, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    DescendKernel<number><<<Blocks(n, kWarp), kWarp, bytes, stream>>>(matrix, block);
  });
}

}  // namespace marlin::cuda
