// The plain kernels of weights: for every format, every shape and few tokens. They are no faster than they must be.
#include "kernels/cuda/decode.cuh"
#include "kernels/cuda/launch.cuh"

namespace marlin::cuda {
namespace {

__global__ void DecodeRowsKernel(PackedCodes w, std::size_t first, std::size_t count, float* out) {
  const std::size_t octets = (w.cols + kOctet - 1) / kOctet;
  const std::size_t i = GlobalThread();
  if (i >= count * octets) return;
  const std::size_t row = i / octets, col = i % octets * kOctet;
  float values[kOctet];
  DecodeOctet(w, first + row, col, values);
  for (int c = 0; c < kOctet && col + c < w.cols; ++c) out[row * w.cols + col + c] = values[c];
}

__global__ void EmbedRowsKernel(PackedCodes w, View<const std::int32_t> tokens, View<float> out) {
  const std::size_t octets = (w.cols + kOctet - 1) / kOctet;
  const std::size_t i = GlobalThread();
  if (i >= out.rows * octets) return;
  const std::size_t t = i / octets, col = i % octets * kOctet;
  float values[kOctet];
  DecodeOctet(w, static_cast<std::size_t>(tokens.data[t * tokens.stride]), col, values);
  for (int c = 0; c < kOctet && col + c < w.cols; ++c) out.data[t * out.stride + col + c] = values[c];
}

// A warp for each row of the weight and kTokens tokens. Lane i has columns 8 i to 8 i + 7 of every 256.
template <int kTokens>
__global__ void MultiplyFewKernel(PackedCodes w, const float* bias, View<const float> x, View<float> out) {
  const std::size_t row = GlobalThread() / kWarp;
  if (row >= w.rows) return;
  const std::size_t first = static_cast<std::size_t>(blockIdx.y) * kTokens;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  float sums[kTokens] = {};
  for (std::size_t col = static_cast<std::size_t>(lane) * kOctet; col < w.cols; col += kWarp * kOctet) {
    float weights[kOctet];
    DecodeOctet(w, row, col, weights);
    const int count = static_cast<int>(w.cols - col < kOctet ? w.cols - col : kOctet);
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      if (first + t >= x.rows) break;
      const float* const from = x.data + (first + t) * x.stride + col;
      for (int c = 0; c < count; ++c) sums[t] = __fmaf_rn(weights[c], from[c], sums[t]);
    }
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    const float sum = SumOfWarp(sums[t]);
    if (lane == 0 && first + t < x.rows) {
      out.data[(first + t) * out.stride + row] = bias == nullptr ? sum : sum + bias[row];
    }
  }
}

__global__ void AddRowKernel(const float* row, View<float> x) {
  const std::size_t i = GlobalThread();
  if (i < x.rows * x.cols) x.data[i / x.cols * x.stride + i % x.cols] += row[i % x.cols];
}

}  // namespace

void DecodeRows(const PackedCodes& weight, std::size_t first, std::size_t count, float* out, cudaStream_t stream) {
  const std::size_t octets = count * ((weight.cols + kOctet - 1) / kOctet);
  if (octets == 0) return;
  DecodeRowsKernel<<<Blocks(octets, kThreads), kThreads, 0, stream>>>(weight, first, count, out);
}

void EmbedRows(const PackedCodes& weight, View<const std::int32_t> tokens, View<float> out, cudaStream_t stream) {
  const std::size_t octets = out.rows * ((weight.cols + kOctet - 1) / kOctet);
  if (octets == 0) return;
  EmbedRowsKernel<<<Blocks(octets, kThreads), kThreads, 0, stream>>>(weight, tokens, out);
}

void MultiplyFew(const PackedCodes& weight, View<const float> bias, View<const float> x, View<float> out,
                 cudaStream_t stream) {
  if (x.rows == 0 || weight.rows == 0) return;
  constexpr int kTokens = 8;
  const unsigned blocks = Blocks(weight.rows, kThreads / kWarp);
  const dim3 grid(blocks, Blocks(x.rows, kTokens));
  if (x.rows == 1) {
    MultiplyFewKernel<1><<<grid, kThreads, 0, stream>>>(weight, bias.data, x, out);
  } else {
    MultiplyFewKernel<kTokens><<<grid, kThreads, 0, stream>>>(weight, bias.data, x, out);
  }
}

void AddRow(View<const float> row, View<float> x, cudaStream_t stream) {
  if (x.rows * x.cols == 0) return;
  AddRowKernel<<<Blocks(x.rows * x.cols, kThreads), kThreads, 0, stream>>>(row.data, x);
}

}  // namespace marlin::cuda
