// Products of quantized weights with more tokens than few.h serves: what many.cu defines. Tokens and weights are fp16
// operands of the tensor cores, sums are fp32. The kernel decodes weights on their way; it reads those of few_layout.h.
//
// Tokens are rounded as round.h says, row by row; weights as many_power.h says. The order of sums is fixed.
#pragma once

#include <optional>

#include "kernels/cuda/few.h"

namespace marlin::cuda {

// So many tokens are multiplied faster by cuBLAS, after the weights were decoded. On an H200 FP4 was 4 % faster so for
// 8192 x 8192 and 14336 x 4096, and 9 % slower for 8192 x 28672; at 1024 tokens it was slower everywhere.
inline constexpr std::size_t kFewestDecoded = 4096;
constexpr bool AreMany(std::size_t tokens) { return tokens > kMostFewTokens && tokens < kFewestDecoded; }

// Whether devices of this compute capability run the kernel, and this program has it. Asks the driver.
bool CanMultiplyMany(int major, int minor);

// product.out = x * weight^T + bias; or out += *added * that. AreMany(tokens). halves [out.rows, PaddedCols(cols)], as
// halves.h says, divided by powers.
void MultiplyManyRounded(const FewProduct& product, const void* halves, const float* powers, std::optional<float> added,
                         cudaStream_t stream);

}  // namespace marlin::cuda
