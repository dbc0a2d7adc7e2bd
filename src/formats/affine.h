// Integers with a stored bias: weight = scale * code + bias, codes 0 .. 2^bits - 1.
//
//   kFp16  scale and bias in fp16 (llama.cpp's Q4_1 and Q5_1, in groups of 32)
//   kBf16  scale and bias have 8 significant bits within fp16's range: the same numbers in fp16 and in bf16 (MLX keeps
//          both in the type of the model's activations)
#pragma once

#include <algorithm>
#include <cmath>

#include "formats/format.h"
#include "formats/integers.h"

namespace marlin {

constexpr float DecodeAffine(std::uint32_t code, const GroupParams& params) noexcept {
  return static_cast<float>(code) * params.scale + params.bias;
}

struct Range {
  float low = 0;
  float high = 0;
};

constexpr Range RangeOf(std::span<const float> weights) noexcept {
  if (weights.empty()) return {};
  Range range{weights[0], weights[0]};
  for (const float w : weights) range = {std::min(range.low, w), std::max(range.high, w)};
  return range;
}

// Scale and bias that put the ends of a range on the first and the last code. A range without length gets a scale all
// the same, because kernels divide the bias by it.
template <class F>
constexpr GroupParams FitRange(Range range, float most) noexcept {
  // Halved before the subtraction: the range of two floats can overflow.
  const float step = std::max((range.high / 2 - range.low / 2) / (most / 2), std::abs(range.low) * 0x1p-10f);
  GroupParams params{.scale = F::RoundScale(step, {}), .bias = F::RoundBias(range.low, {})};
  if (params.scale == 0 && params.bias != 0) params.scale = F::RoundScale(PowerOfTwo(kLeastScaleExponent), {});
  return params;
}

// The range with each end cut off by up to three tenths.
template <class F>
constexpr std::size_t ProposeRanges(Range range, float most, std::span<GroupParams, kMaxProposals> out) noexcept {
  constexpr float kCuts[] = {0.0f, 0.03f, 0.06f, 0.1f, 0.14f, 0.18f, 0.24f, 0.3f};
  std::size_t count = 0;
  for (const float low : kCuts) {
    for (const float high : kCuts) {
      const float length = range.high / 2 - range.low / 2;
      out[count++] = FitRange<F>({range.low + 2 * low * length, range.high - 2 * high * length}, most);
    }
  }
  return count;
}

enum class AffineType { kFp16, kBf16 };

template <std::uint16_t kId, FormatName kName, int kGroup, int kBits, AffineType kType>
struct Affine : NoUnits {
  static constexpr FormatInfo kInfo{.id = kId,
                                    .name = kName.view(),
                                    .family = kBits == 4 ? "affine4" : "affine5",
                                    .label = kBits == 4 ? "INT4 with bias" : "INT5 with bias",
                                    .code_bits = kBits,
                                    .group = kGroup,
                                    .scale_bits = 16,
                                    .zero_point_bits = 0,
                                    .bias_bits = 16,
                                    .common = false};
  static constexpr float kMost = (1 << kBits) - 1;

  static constexpr GroupParams Fit(std::span<const float> weights, std::span<const float>) noexcept {
    return FitRange<Affine>(RangeOf(weights), kMost);
  }
  static constexpr std::size_t Propose(std::span<const float> weights,
                                       std::span<GroupParams, kMaxProposals> out) noexcept {
    return ProposeRanges<Affine>(RangeOf(weights), kMost, out);
  }
  static constexpr float RoundScale(float wanted, const GroupParams&) noexcept {
    return wanted > 0 ? RoundBias(wanted, {}) : 0.0f;
  }
  static constexpr float RoundBias(float wanted, const GroupParams&) noexcept {
    return kType == AffineType::kBf16 ? RoundToBitsInHalf(wanted, 8) : RoundToHalf(wanted);
  }
  static constexpr std::uint32_t Round(float weight, const GroupParams& params) noexcept {
    return RoundInteger(weight, params, kMost);
  }
  static constexpr float Decode(std::uint32_t code, const GroupParams& params) noexcept {
    return DecodeAffine(code, params);
  }
};

}  // namespace marlin
