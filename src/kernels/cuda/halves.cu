// Rounds the operands of products to fp16, and undoes the powers of two afterwards.
#include "kernels/cuda/decode.cuh"
#include "kernels/cuda/halves.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/power.cuh"

namespace marlin::cuda {
namespace {

__global__ void RoundTokensKernel(View<const float> x, std::size_t padded, __half* halves, float* powers) {
  __shared__ float scratch[kThreads];
  const float* const row = x.data + blockIdx.x * x.stride;
  const float power = PowerOfRow(row, x.cols, scratch);
  if (threadIdx.x == 0) powers[blockIdx.x] = power;
  __half* const to = halves + blockIdx.x * padded;
  for (std::size_t i = threadIdx.x; i < padded; i += kThreads) {
    to[i] = __float2half_rn(i < x.cols ? row[i] / power : 0.0f);
  }
}

__global__ void DecodeToHalvesKernel(PackedCodes w, std::size_t first, std::size_t count, float factor, __half* out) {
  const std::size_t octets = (w.cols + kOctet - 1) / kOctet;
  const std::size_t i = GlobalThread();
  if (i >= count * octets) return;
  float values[kOctet];
  DecodeOctet(w, first + i / octets, i % octets * kOctet, values);
  __half2 halves[kOctet / 2];
  for (int c = 0; c < kOctet / 2; ++c) {
    halves[c] = __floats2half2_rn(values[2 * c] * factor, values[2 * c + 1] * factor);
  }
  reinterpret_cast<uint4*>(out)[i] = *reinterpret_cast<const uint4*>(halves);
}

// A block for each token and 1024 columns.
constexpr std::size_t kColsOfBlock = 4 * kThreads;
__global__ void ScaleTokensKernel(View<float> out, const float* powers, float power, const float* bias) {
  const float factor = powers[blockIdx.y] * power;
  float* const row = out.data + blockIdx.y * out.stride;
  for (int i = 0; i < 4; ++i) {
    const std::size_t col = blockIdx.x * kColsOfBlock + i * kThreads + threadIdx.x;
    if (col < out.cols) row[col] = bias == nullptr ? row[col] * factor : __fmaf_rn(row[col], factor, bias[col]);
  }
}

}  // namespace

float PowerOf(float most) { return PowerFor(most); }

void RoundTokens(View<const float> x, void* halves, float* powers, cudaStream_t stream) {
  if (x.rows == 0) return;
  RoundTokensKernel<<<static_cast<unsigned>(x.rows), kThreads, 0, stream>>>(x, PaddedCols(x.cols),
                                                                            static_cast<__half*>(halves), powers);
}

void DecodeRowsToHalves(const PackedCodes& weight, std::size_t first, std::size_t count, float power, void* halves,
                        cudaStream_t stream) {
  const std::size_t octets = count * PaddedCols(weight.cols) / kOctet;
  if (octets == 0) return;
  DecodeToHalvesKernel<<<Blocks(octets, kThreads), kThreads, 0, stream>>>(weight, first, count, 1 / power,
                                                                          static_cast<__half*>(halves));
}

void ScaleTokens(View<float> out, const float* powers, float power, View<const float> bias, cudaStream_t stream) {
  if (out.rows * out.cols == 0) return;
  const dim3 grid(Blocks(out.cols, kColsOfBlock), static_cast<unsigned>(out.rows));
  ScaleTokensKernel<<<grid, kThreads, 0, stream>>>(out, powers, power, bias.data);
}

}  // namespace marlin::cuda
