// Products of quantized weights with at most 16 tokens in fp16: what few.cu, few_rows.cu and round.cu define.
//
// Activations are rounded as round.h says.
#pragma once

#include <optional>
#include <span>

#include "kernels/cuda/few_layout.h"
#include "kernels/cuda/operations.h"

namespace marlin::cuda {

inline constexpr std::size_t kMostFewTokens = 16;

// Activations as MultiplyFewRounded reads them: [block of 256 columns][64 columns][8 or 16 tokens][128 bytes], the
// 16-byte units of a row exchanged by token mod 8 (unit u lies at u ^ (token mod 8)). Then sums of 32 columns each, for
// biases: [block][8 or 16 tokens][2][8]: a sum divided by kPowerOfBiased, rounded to fp16, and what is missing, rounded
// too. Columns are padded with zeros. Tokens are padded with any numbers: they change no other token's products.
constexpr std::size_t HalfTokens(std::size_t tokens) { return tokens <= 8 ? 8 : 16; }
constexpr std::size_t TokenSumsBytes(std::size_t tokens) { return HalfTokens(tokens) * 32; }  // of a block
constexpr std::size_t PlaceOfTokenSums(std::size_t tokens, std::size_t cols) {
  return PaddedToRecords(cols) * HalfTokens(tokens) * 2;
}
constexpr std::size_t HalfBytes(std::size_t tokens, std::size_t cols) {
  return PlaceOfTokenSums(tokens, cols) + PaddedToRecords(cols) / kRecordCols * TokenSumsBytes(tokens);
}

// out = x * weight^T + bias; or out += *added * (x * weight^T + bias).
struct FewProduct {
  const FewWeight* weight = nullptr;
  View<const float> bias;
  View<float> out;
};
inline constexpr std::size_t kMostTogether = 3;  // queries, keys, values

// Products of at most kMostTogether matrices of one format with the same input of at most 16 tokens. Whether this
// device runs the kernel: CanMultiplyRounded.
bool CanMultiplyRounded(int major);
void MultiplyFewRounded(std::span<const FewProduct> products, const std::uint8_t* halves, const float* powers,
                        std::optional<float> added, cudaStream_t stream);

// out[i] = row tokens[i]
void EmbedRows(const FewWeight& weight, View<const std::int32_t> tokens, View<float> out, cudaStream_t stream);

}  // namespace marlin::cuda
