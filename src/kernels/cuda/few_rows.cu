// Rows of weights in the layout of few_layout.h: decoded to fp16, and embeddings.
#include <cuda_fp16.h>

#include "kernels/cuda/few.h"
#include "kernels/cuda/few_decode.h"
#include "kernels/cuda/halves.h"
#include "kernels/cuda/launch.cuh"

namespace marlin::cuda {
namespace {

constexpr std::size_t kLanes = 4 * 32;  // of a record: 64 columns each

// A thread for each number: the word that holds its code is decoded.
template <FewCoding kCoding, int kZero>
__global__ void EmbedFewKernel(FewWeight w, View<const std::int32_t> tokens, View<float> out) {
  const std::size_t i = GlobalThread();
  if (i >= out.rows * w.cols) return;
  const std::size_t token = i / w.cols, col = i % w.cols;
  const auto row = static_cast<std::size_t>(tokens.data[token * tokens.stride]);
  const int k = static_cast<int>(col % kRecordCols), own = static_cast<int>(row % kRecordRows);
  const EightCodes at = {k / 64, k / 16 % 4, own % 8 * 4 + k % 8 / 2};
  const std::uint8_t* const record = w.records + w.PlaceOf(row / kRecordRows, col / kRecordCols);
  std::uint32_t words[BitsOf(kCoding)];
  float eight[8];
  ReadWords<kCoding>(record, at.part, at.lane, words);
  DecodeEight<kCoding, kZero>(w, record, words, at, eight);
  const int code = k % 16 / 8 * 4 + own / 8 * 2 + k % 2;
  float value = eight[0];
#pragma unroll
  for (int c = 1; c < 8; ++c) value = c == code ? eight[c] : value;
  out.data[token * out.stride + col] = value;
}

// Rows in fp16, divided by a power of two: a block for each record, a thread for each lane's 64 columns of it. Shared
// memory turns the order of lanes into that of rows. cols: of a row of `out`, a multiple of 8; numbers beyond those of
// the matrix are 0.
template <FewCoding kCoding, int kZero>
__global__ void __launch_bounds__(kLanes)
    DecodeFewKernel(FewWeight w, std::size_t first, std::size_t count, float factor, std::size_t cols, __half* out) {
  constexpr std::size_t kUnit = 8, kStride = kRecordCols + kUnit;  // rows begin in different banks
  __shared__ __align__(16) __half numbers[kRecordRows * kStride];
  const int lane = static_cast<int>(threadIdx.x % 32), part = static_cast<int>(threadIdx.x / 32);
  const std::size_t block = blockIdx.x % w.blocks(), tile = first / kRecordRows + blockIdx.x / w.blocks();
  const std::uint8_t* const record = w.records + w.PlaceOf(tile, block);
  std::uint32_t words[BitsOf(kCoding)];
  ReadWords<kCoding>(record, part, lane, words);
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    const EightCodes at = {part, step, lane};
    float eight[8];
    DecodeEight<kCoding, kZero>(w, record, words, at, eight);
#pragma unroll
    for (int code = 0; code < 8; code += 2) {  // two columns, of which the first is even
      const std::size_t col = block * kRecordCols + at.Col(code);
      const float lower = col < w.cols ? eight[code] * factor : 0.0f;
      const float upper = col + 1 < w.cols ? eight[code + 1] * factor : 0.0f;
      *reinterpret_cast<__half2*>(numbers + at.Row(code) * kStride + at.Col(code)) = __floats2half2_rn(lower, upper);
    }
  }
  __syncthreads();
  constexpr std::size_t kUnits = kRecordCols / kUnit;  // of a row
#pragma unroll
  for (std::size_t i = threadIdx.x; i < kRecordRows * kUnits; i += kLanes) {
    const std::size_t row = tile * kRecordRows - first + i / kUnits, col = block * kRecordCols + i % kUnits * kUnit;
    if (row >= count || col >= cols) continue;
    *reinterpret_cast<uint4*>(out + row * cols + col) =
        *reinterpret_cast<const uint4*>(numbers + i / kUnits * kStride + i % kUnits * kUnit);
  }
}

}  // namespace

void EmbedRows(const FewWeight& weight, View<const std::int32_t> tokens, View<float> out, cudaStream_t stream) {
  if (out.rows * weight.cols == 0) return;
  const unsigned blocks = Blocks(out.rows * weight.cols, kThreads);
  WithCoding(weight.format, [&]<FewCoding kCoding, int kZero>() {
    EmbedFewKernel<kCoding, kZero><<<blocks, kThreads, 0, stream>>>(weight, tokens, out);
  });
}

void DecodeRowsToHalves(const FewWeight& weight, std::size_t first, std::size_t count, float power, void* halves,
                        cudaStream_t stream) {
  const std::size_t records = (count + kRecordRows - 1) / kRecordRows * weight.blocks();
  if (records == 0) return;
  WithCoding(weight.format, [&]<FewCoding kCoding, int kZero>() {
    DecodeFewKernel<kCoding, kZero><<<Blocks(records, 1), kLanes, 0, stream>>>(
        weight, first, count, 1 / power, PaddedCols(weight.cols), static_cast<__half*>(halves));
  });
}

}  // namespace marlin::cuda
