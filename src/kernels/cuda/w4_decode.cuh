// A word of 8 codes to the operand A of an mma, as exact fp16 numbers.
#pragma once

#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/w4_layout.h"

namespace marlin::cuda {

// fp16 numbers to whose mantissas a code is added: 1024 at its lowest bits, 64 four bits higher.
inline constexpr std::uint32_t kLowerInteger = 0x64006400u, kUpperInteger = 0x54005400u;

// FP4: the codes' values x 2^-14. The three magnitude bits lie where fp16's exponent and mantissa meet, so that 0.5
// comes out right as a subnormal. INT4: 1024 + code in a[0] and a[2] (row g), 64 + code in a[1] and a[3] (row g + 8).
template <W4Coding kCoding>
__device__ inline void DecodeWord(std::uint32_t w, std::uint32_t (&a)[4]) {
  if constexpr (kCoding == W4Coding::kFp4) {
    constexpr std::uint32_t kMask = 0x8e008e00u;
    a[0] = (w ^ (w >> 3)) & kMask;
    a[1] = (w ^ (w << 2)) & kMask;
    a[2] = (w ^ (w << 6)) & kMask;
    a[3] = (w << 9) & kMask;
  } else {
    const std::uint32_t upper = w >> 8;
    a[0] = AndOr(w, 0x000f000fu, kLowerInteger);
    a[1] = AndOr(w, 0x00f000f0u, kUpperInteger);
    a[2] = AndOr(upper, 0x000f000fu, kLowerInteger);
    a[3] = AndOr(upper, 0x00f000f0u, kUpperInteger);
  }
}

// INT4: code - zero point, exactly. zeros: of row g in the low half, of row g + 8 in the other.
__device__ inline void SubtractZeros(std::uint32_t (&a)[4], std::uint32_t zeros) {
  const std::uint32_t lower = (zeros & 0x0f) * 0x10001u | kLowerInteger;
  const std::uint32_t upper = (zeros & 0xf0) * 0x10001u | kUpperInteger;
  a[0] = SubtractHalves(a[0], lower);
  a[1] = SubtractHalves(a[1], upper);
  a[2] = SubtractHalves(a[2], lower);
  a[3] = SubtractHalves(a[3], upper);
}

// What a sum is multiplied by to undo the power of two.
template <W4Coding kCoding>
inline constexpr float kUndoPower = kCoding == W4Coding::kFp4 ? 0x1p14f : 1.0f;

}  // namespace marlin::cuda
