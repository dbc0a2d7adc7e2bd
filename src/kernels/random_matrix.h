// For tests: random values, and encoded matrices with every code, zero point and kind of scale.
#pragma once

#include <cstdint>
#include <numbers>
#include <vector>

#include "base/half.h"
#include "base/rng.h"
#include "formats/encoded_matrix.h"
#include "formats/formats.h"

namespace marlin {

// Mean 0, variance 1, nearly normal: a sum of four 16-bit integers. Rng::Normal takes a logarithm and a cosine, which
// an emulator computes for longer than the product in question.
inline double RandomValue(Rng& rng) {
  const std::uint64_t bits = rng.Next();
  std::int32_t sum = -2 * 0xffff;
  for (int i = 0; i < 4; ++i) sum += static_cast<std::int32_t>(bits >> (16 * i) & 0xffff);
  return sum * (std::numbers::sqrt3 / 65536);
}

// The least number of columns, at least `cols`, that the format can store.
inline std::size_t FittingCols(const FormatInfo& info, std::size_t cols) {
  if (FitsRows(info, cols)) return cols;
  const auto block = static_cast<std::size_t>(info.block);
  return (cols + block - 1) / block * block;
}

// One scale in eight is 0 or subnormal, and half of them are negative where the format allows it. Biases lie within
// some steps of 0.
inline void SetRandomParams(EncodedMatrix& matrix, Rng& rng) {
  const FormatRow& format = *matrix.format;
  const FormatInfo& info = format.info;
  const std::size_t groups = GroupsPerRow(info, matrix.cols);
  std::vector<GroupParams> params(matrix.rows * groups);
  for (GroupParams& own : params) {
    const std::uint64_t kind = rng.Below(16);
    const float wanted = kind == 0 && !HasBias(info) ? 0.0f
                         : kind == 1                 ? HalfToFloat(static_cast<std::uint16_t>(1 + rng.Below(1023)))
                                                     : static_cast<float>(0.01 + 0.1 * rng.Uniform());
    const bool negative = format.round_scale(-1, {}) != 0 && rng.Below(2) == 0;
    own.scale = format.round_scale(negative ? -wanted : wanted, {});
    own.bias = format.round_bias(own.scale * static_cast<float>(rng.Uniform() * -18 + 2), {});
    own.zero_point = static_cast<std::uint8_t>(info.zero_point_bits != 0 ? rng.Below(16) : info.fixed_zero_point);
  }
  Settle(format, matrix.cols, params);
  for (std::size_t i = 0; i < params.size(); ++i) SetParams(matrix, i / groups, i % groups, params[i]);
}

// Codes are random bits (finite values for 16 and 32 bits).
inline EncodedMatrix RandomEncoded(const FormatRow& format, std::size_t rows, std::size_t cols, Rng& rng) {
  EncodedMatrix matrix(format, rows, cols);
  const FormatInfo& info = format.info;
  std::vector<std::uint32_t> codes(cols);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::uint32_t& code : codes) {
      const auto weight = static_cast<float>(RandomValue(rng));
      if (info.code_bits >= 16) {
        format.round({&weight, 1}, {}, {&code, 1});
      } else {
        code = static_cast<std::uint32_t>(rng.Below(std::uint64_t{1} << info.code_bits));
      }
    }
    SetCodes(matrix, r, 0, codes);
  }
  SetRandomParams(matrix, rng);
  return matrix;
}

}  // namespace marlin
