// A symmetric matrix from its upper half, with rows and columns in another order.
#include <algorithm>
#include <cstdint>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.h"

namespace marlin::cuda {
namespace {

// The most blocks of a grid's second axis.
constexpr std::size_t kMostRowBlocks = 65535;

__device__ std::size_t PlaceOf(View<const std::int32_t> order, std::size_t i) {
  return order.data == nullptr ? i : static_cast<std::size_t>(order.data[i * order.stride]);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    SymmetrizeKernel(View<const float> upper, View<const std::int32_t> order, double factor, View<T> out) {
  const std::size_t j = GlobalThread();
  if (j >= out.cols) return;
  const std::size_t column = PlaceOf(order, j);
  for (std::size_t i = blockIdx.y; i < out.rows; i += gridDim.y) {
    const std::size_t row = PlaceOf(order, i);
    const std::size_t low = row < column ? row : column, high = row < column ? column : row;
    out.data[i * out.stride + j] = static_cast<T>(factor * static_cast<double>(upper.data[low * upper.stride + high]));
  }
}

}  // namespace

template <class T>
void Symmetrize(View<const float> upper, View<const std::int32_t> order, double factor, View<T> out,
                cudaStream_t stream) {
  if (out.rows * out.cols == 0) return;
  const dim3 grid(Blocks(out.cols, kThreads), static_cast<unsigned>(std::min(out.rows, kMostRowBlocks)));
  SymmetrizeKernel<T><<<grid, kThreads, 0, stream>>>(upper, order, factor, out);
}

template void Symmetrize(View<const float>, View<const std::int32_t>, double, View<float>, cudaStream_t);
template void Symmetrize(View<const float>, View<const std::int32_t>, double, View<double>, cudaStream_t);

}  // namespace marlin::cuda
