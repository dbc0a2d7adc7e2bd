// Codes of a weight matrix to numbers, eight of a row at a time.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/cuda/operations.h"

namespace marlin::cuda {

inline constexpr int kOctet = 8;  // columns that are decoded together; groups are multiples of it

__device__ inline float DecodeDense(const PackedCodes& w, const std::uint8_t* row, std::size_t col) {
  if (w.coding == Coding::kFp32) return reinterpret_cast<const float*>(row)[col];
  if (w.coding == Coding::kFp16) return __half2float(reinterpret_cast<const __half*>(row)[col]) * w.power;
  return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(row)[col]);
}

// The bits of eight codes: code_bits bytes, which never begin within a byte. The pitch makes whole loads safe.
__device__ inline std::uint64_t BitsOfOctet(const std::uint8_t* at, int code_bits) {
  if (code_bits == 4) return *reinterpret_cast<const std::uint32_t*>(at);
  if (code_bits == 8) return *reinterpret_cast<const std::uint64_t*>(at);
  std::uint64_t bits = 0;
  for (int i = 0; i < code_bits; ++i) bits |= static_cast<std::uint64_t>(at[i]) << (8 * i);
  return bits;
}

// Columns col to col + 7 of a row; col is a multiple of 8. Those beyond the row are 0.
__device__ inline void DecodeOctet(const PackedCodes& w, std::size_t row, std::size_t col, float (&out)[kOctet]) {
  const std::uint8_t* const codes = w.codes + row * w.pitch;
  const int count = static_cast<int>(w.cols - col < kOctet ? w.cols - col : kOctet);
  if (w.coding != Coding::kTable) {
    for (int i = 0; i < kOctet; ++i) out[i] = i < count ? DecodeDense(w, codes, col + i) : 0.0f;
    return;
  }
  const std::uint64_t bits = BitsOfOctet(codes + col / 8 * w.code_bits, w.code_bits);
  const std::size_t group = row * w.groups + col / w.group;
  const float scale = w.scales[group];
  const float zero = w.zeros == nullptr ? 0.0f : static_cast<float>(w.zeros[group]);
  const float bias = w.biases == nullptr ? 0.0f : w.biases[group];
  const std::uint64_t mask = (std::uint64_t{1} << w.code_bits) - 1;
  for (int i = 0; i < kOctet; ++i) {
    const float value = w.table[bits >> (i * w.code_bits) & mask] - zero;
    const float product = __fmul_rn(scale, value);
    out[i] = i >= count ? 0.0f : w.biases == nullptr ? product : __fadd_rn(product, bias);  // -0 + 0 would be 0
  }
}

}  // namespace marlin::cuda
