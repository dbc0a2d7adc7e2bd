// Weights in fp16 x at most 16 tokens in fp16. The time is that of reading the weights: a block serves 16 rows, its
// eight warps share the columns and read them from memory straight to the operands of mma.m16n8k16. The columns of a
// step stand in an order of their own, in which those of a lane lie together.
#include <cuda_fp16.h>

#include "kernels/cuda/halves.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/power.cuh"

namespace marlin::cuda {
namespace {

constexpr int kRows = 16;
constexpr int kWarps = 8;
constexpr int kUnits = 4;  // of 32 columns, that a warp reads together

struct Args {
  const __half* weights;
  std::size_t pitch;       // of a row of weights, in numbers
  std::size_t rows, cols;  // cols: with padding
  const __half* halves;    // [tokens][cols]
  const float* powers;
  float power;
  const float* bias;
  View<float> out;
  bool adds;  // out += factor * products, else out = the products
  float factor;
};

template <int kTokenBlocks>
__global__ void __launch_bounds__(kWarps* kWarp) HalvesFewKernel(Args args) {
  __shared__ float parts[kWarps][kTokenBlocks][kWarp * 4];
  const int lane = static_cast<int>(threadIdx.x % kWarp), warp = static_cast<int>(threadIdx.x / kWarp);
  const int g = lane / 4, t = lane % 4;
  const std::size_t first = static_cast<std::size_t>(blockIdx.x) * kRows, row = first + g;
  const bool real = row < args.rows, real_upper = row + 8 < args.rows;
  const __half* const lower = args.weights + row * args.pitch;
  const __half* const upper = lower + 8 * args.pitch;
  LaunchNext();
  float sums[kTokenBlocks][4] = {};
  bool waited = false;
  for (std::size_t begin = static_cast<std::size_t>(warp) * kUnits * 32; begin < args.cols;
       begin += kWarps * kUnits * 32) {
    uint4 a[kUnits][2];
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const std::size_t col = begin + u * 32 + t * 8;
      a[u][0] = LoadOr0(lower + col, real && col < args.cols);
      a[u][1] = LoadOr0(upper + col, real_upper && col < args.cols);
    }
    if (!waited) WaitForPrevious();  // the weights do not depend on it
    waited = true;
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const std::size_t col = begin + u * 32 + t * 8;
      const std::uint32_t even[4] = {a[u][0].x, a[u][1].x, a[u][0].y, a[u][1].y};
      const std::uint32_t odd[4] = {a[u][0].z, a[u][1].z, a[u][0].w, a[u][1].w};
#pragma unroll
      for (int b = 0; b < kTokenBlocks; ++b) {
        const std::size_t token = b * 8 + g;
        const uint4 x = LoadOr0(args.halves + token * args.cols + col, token < args.out.rows && col < args.cols);
        MultiplyAdd(sums[b], even, x.x, x.y);
        MultiplyAdd(sums[b], odd, x.z, x.w);
      }
    }
  }
  if (!waited) WaitForPrevious();
#pragma unroll
  for (int b = 0; b < kTokenBlocks; ++b) {
#pragma unroll
    for (int c = 0; c < 4; ++c) parts[warp][b][lane * 4 + c] = sums[b][c];
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < static_cast<int>(args.out.rows) * kRows; i += kWarps * kWarp) {
    const int token = i / kRows, own = i % kRows;
    if (first + own >= args.rows) continue;
    const int at = ((own & 7) * 4 + (token >> 1 & 3)) * 4 + (own >> 3) * 2 + (token & 1);
    float sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += parts[w][token >> 3][at];
    const float scale = args.powers[token] * args.power;
    const float value = Scaled(sum, scale, args.bias, first + own);
    float& out = args.out.data[static_cast<std::size_t>(token) * args.out.stride + first + own];
    out = args.adds ? __fmaf_rn(args.factor, value, out) : value;
  }
}

}  // namespace

void MultiplyHalvesFew(const void* weights, std::size_t pitch, std::size_t cols, const void* halves,
                       const float* powers, float power, View<const float> bias, View<float> out,
                       std::optional<float> added, cudaStream_t stream) {
  if (out.rows * out.cols == 0) return;
  const Args args = {static_cast<const __half*>(weights),
                     pitch,
                     out.cols,
                     PaddedCols(cols),
                     static_cast<const __half*>(halves),
                     powers,
                     power,
                     bias.data,
                     out,
                     added.has_value(),
                     added.value_or(0)};
  const auto kernel = out.rows <= 8 ? HalvesFewKernel<1> : HalvesFewKernel<2>;
  LaunchOverlapping(kernel, Blocks(out.cols, kRows), 1, kWarps * kWarp, 0, stream, args);
}

}  // namespace marlin::cuda
