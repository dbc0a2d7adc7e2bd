// Products of more than a few tokens in fp16: operands are rounded to fp16, sums are fp32. What halves.cu, w16_few.cu
// and few_rows.cu define.
//
// Each token is divided by a power of two as in round.h, and so is each weight matrix. Rounded matrices are row-major,
// with rows of PaddedCols(k) numbers; those beyond k are zeros.
#pragma once

#include <optional>

#include "kernels/cuda/few_layout.h"
#include "kernels/cuda/operations.h"

namespace marlin::cuda {

constexpr std::size_t PaddedCols(std::size_t cols) { return (cols + 7) / 8 * 8; }

// The largest number of a matrix becomes less than 2^15 when it is divided by this. most: its size, or a bound.
float PowerOf(float most);

// Rows of the matrix, decoded and divided by `power`: halves [count, PaddedCols]. first of FewWeight: a multiple of 16.
void DecodeRowsToHalves(const PackedCodes& weight, std::size_t first, std::size_t count, float power, void* halves,
                        cudaStream_t stream);
void DecodeRowsToHalves(const FewWeight& weight, std::size_t first, std::size_t count, float power, void* halves,
                        cudaStream_t stream);

// out[t] = out[t] * powers[t] * power + bias; or to[t] += added * that, if there is such a matrix.
void ScaleTokens(View<float> out, const float* powers, float power, View<const float> bias, View<float> to, float added,
                 cudaStream_t stream);

// out = x * weight^T + bias for at most 16 tokens, or out += *added * that. weights [out.cols][pitch] fp16, divided by
// `power`; their rows begin at multiples of 16 bytes. halves [out.rows, PaddedCols(cols)], divided by powers.
void MultiplyHalvesFew(const void* weights, std::size_t pitch, std::size_t cols, const void* halves,
                       const float* powers, float power, View<const float> bias, View<float> out,
                       std::optional<float> added, cudaStream_t stream);

}  // namespace marlin::cuda
