// Products of more than a few tokens in fp16: operands are rounded to fp16, sums are fp32. What halves.cu and w4_few.cu
// define.
//
// Each token is divided by a power of two as in w4.h, and so is each weight matrix. Rounded matrices are row-major,
// with rows of PaddedCols(k) numbers; those beyond k are zeros.
#pragma once

#include "kernels/cuda/operations.h"
#include "kernels/cuda/w4_layout.h"

namespace marlin::cuda {

constexpr std::size_t PaddedCols(std::size_t cols) { return (cols + 7) / 8 * 8; }

// The largest number of a matrix becomes less than 2^15 when it is divided by this. most: its size, or a bound.
float PowerOf(float most);

// halves [x.rows, PaddedCols], powers [x.rows].
void RoundTokens(View<const float> x, void* halves, float* powers, cudaStream_t stream);

// Rows of the matrix, decoded and divided by `power`: halves [count, PaddedCols]. first of W4: a multiple of 16.
void DecodeRowsToHalves(const PackedCodes& weight, std::size_t first, std::size_t count, float power, void* halves,
                        cudaStream_t stream);
void DecodeW4RowsToHalves(const W4Matrix& weight, std::size_t first, std::size_t count, float power, void* halves,
                          cudaStream_t stream);

// out[t] = out[t] * powers[t] * power + bias
void ScaleTokens(View<float> out, const float* powers, float power, View<const float> bias, cudaStream_t stream);

}  // namespace marlin::cuda
