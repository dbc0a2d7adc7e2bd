// Decodes weights to fp16, and undoes the powers of two of products.
#include "kernels/cuda/decode.cuh"
#include "kernels/cuda/halves.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/power.cuh"
#include "kernels/cuda/quads.cuh"

namespace marlin::cuda {
namespace {

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

// to: where the products are added; or without data.
__global__ void ScaleTokensKernel(View<float> out, const float* powers, float power, const float* bias, View<float> to,
                                  float added, unsigned parts) {
  const RowPart part = PartOfThread(parts);
  AfterPrevious();
  if (part.col >= out.cols) return;
  const bool whole = HasWholeQuads(out.data, out.stride);
  float* const row = out.data + part.row * out.stride;
  const float factor = powers[part.row] * power;
  Quad quad = LoadQuad(row, part.col, out.cols, whole);
  EachOf(quad.count, [&](int c) { quad.v[c] = Scaled(quad.v[c], factor, bias, part.col + c); });
  if (to.data == nullptr) return StoreQuad(row, part.col, whole, quad);
  const bool whole_sums = HasWholeQuads(to.data, to.stride);
  float* const sums = to.data + part.row * to.stride;
  Quad sum = LoadQuad(sums, part.col, to.cols, whole_sums);
  EachOf(quad.count, [&](int c) { sum.v[c] = __fmaf_rn(added, quad.v[c], sum.v[c]); });
  StoreQuad(sums, part.col, whole_sums, sum);
}

}  // namespace

float PowerOf(float most) { return PowerFor(most); }

void DecodeRowsToHalves(const PackedCodes& weight, std::size_t first, std::size_t count, float power, void* halves,
                        cudaStream_t stream) {
  const std::size_t octets = count * PaddedCols(weight.cols) / kOctet;
  if (octets == 0) return;
  DecodeToHalvesKernel<<<Blocks(octets, kThreads), kThreads, 0, stream>>>(weight, first, count, 1 / power,
                                                                          static_cast<__half*>(halves));
}

void ScaleTokens(View<float> out, const float* powers, float power, View<const float> bias, View<float> to, float added,
                 cudaStream_t stream) {
  if (out.rows * out.cols == 0) return;
  const unsigned parts = PartsOfRow(out.cols);
  LaunchEarly(ScaleTokensKernel, Blocks(out.rows * parts, 1), kThreads, 0, stream, out, powers, power, bias.data, to,
              added, parts);
}

}  // namespace marlin::cuda
