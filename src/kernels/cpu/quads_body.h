// Activations in int8: packing, and the common part of the dot products of quads (dots_body.h). Included after an
// instruction set's words.h, which defines for it StoreBytes(p, ints): one byte per lane.
#pragma once

#include "kernels/cpu/ints_body.h"

namespace marlin {
namespace {

// Sums are at most 255 x 127 x 128 < 2^23 before the offset is subtracted: exact in fp32 too.
struct QuadSums : IntSums<2, 1, OffsetsInFp32> {
  static std::size_t WordsOfToken(std::size_t k) { return QuadWords(k); }
};

// One token, its words `width` apart.
inline void PackToken(const float* x, std::size_t k, std::uint32_t* to, std::size_t width) {
  const std::size_t words = (k + 7) / 8 * 2;
  std::uint32_t* const scales = to + words * width;
  SumsOfToken<float> sums_of;
  float inverse = 0;
  Ints sum = ZeroInts();
  for (std::size_t i = 0; i < words * 4; i += kLanes) {
    if (i % kScaleLength == 0) {
      const InputScale scale(x + i, k - i, 127);
      inverse = scale.inverse;
      PutFloat(scales + i / kScaleLength * width, scale.scale);
    }
    const Vec scaled = i < k ? Mul(LoadUpTo(x + i, k - i), Set(inverse)) : Zero();
    const Ints rounded = Nearest(scaled);
    std::uint32_t quads[kLanes / 4];
    StoreBytes(quads, rounded);
    for (std::size_t w = i / 4; w < (i + kLanes) / 4 && w < words; ++w) to[w * width] = quads[w - i / 4];
    sum = AddInts(sum, rounded);
    if (!EndsSum(i, kLanes, words * 4)) continue;
    sums_of.Put(static_cast<float>(ReduceInts(sum)), i, kLanes, k, scales + InputScales(k) * width, width);
    sum = ZeroInts();
  }
}

inline void PackQuads(const float* x, std::size_t x_stride, std::size_t m, std::size_t k,
                      std::uint32_t* words) noexcept {
  ForTokenTiles(x, x_stride, m, QuadWords(k), words, [&](const TokensToPack& tokens) {
    for (std::size_t t = 0; t < tokens.count; ++t) {
      PackToken(tokens.x + t * tokens.x_stride, k, tokens.words + t, tokens.count);
    }
  });
}

}  // namespace
}  // namespace marlin
