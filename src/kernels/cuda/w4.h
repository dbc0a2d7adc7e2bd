// Products of 4-bit weights with activations in fp16: what w4_few.cu defines.
//
// Activations are rounded to fp16 after each token is divided by a power of two, so that its largest number is below
// 2^15: no number overflows, and the relative error of a number is at most 2^-11 unless it is below 2^-29 of the
// largest.
#pragma once

#include "kernels/cuda/operations.h"
#include "kernels/cuda/w4_layout.h"

namespace marlin::cuda {

inline constexpr std::size_t kMostFewTokens = 16;

// Activations as MultiplyW4Few reads them: [block of 256 columns][64 columns][8 or 16 tokens][128 bytes], the 16-byte
// units of a row exchanged by token mod 8 (unit u lies at u ^ (token mod 8)). Tokens and columns are padded with zeros.
constexpr std::size_t HalfTokens(std::size_t tokens) { return tokens <= 8 ? 8 : 16; }
constexpr std::size_t HalfBytes(std::size_t tokens, std::size_t cols) {
  return PaddedToRecords(cols) * HalfTokens(tokens) * 2;
}
// x: at most 16 tokens. powers [tokens]: what each token was divided by.
void RoundToHalves(View<const float> x, std::uint8_t* halves, float* powers, cudaStream_t stream);

// The same of the norm of x, which also goes to y.
void NormalizeToHalves(NormKind kind, View<const float> x, View<const float> weight, View<const float> bias, float eps,
                       View<float> y, std::uint8_t* halves, float* powers, cudaStream_t stream);

// out = x * weight^T + bias, for at most 16 tokens. Whether this device runs the kernel: CanMultiplyW4Few.
bool CanMultiplyW4Few(int major);
void MultiplyW4Few(const W4Matrix& weight, View<const float> bias, const std::uint8_t* halves, const float* powers,
                   View<float> out, cudaStream_t stream);

// out[i] = row tokens[i]
void EmbedW4Rows(const W4Matrix& weight, View<const std::int32_t> tokens, View<float> out, cudaStream_t stream);

// Rows of the matrix, decoded to fp32: out [count, cols] without gaps. first: a multiple of 16.
void DecodeW4Rows(const W4Matrix& weight, std::size_t first, std::size_t count, float* out, cudaStream_t stream);

}  // namespace marlin::cuda
