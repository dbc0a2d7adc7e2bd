// Quads of bytes on AVX2 and on AVX-VNNI, which differ in the dot product alone (a struct that extends QuadTiles):
// decoding weights (dots_body.h has the interface, layout.h the picture). The dot product takes unsigned weights.
#pragma once

#include "kernels/cpu/avx2/codes.h"
#include "kernels/cpu/avx2/words.h"
// The body comes after the words it is written in.
#include "kernels/cpu/quads_body.h"

namespace marlin {
namespace {

using QuadTiles = DotTiles<QuadSums>;

template <int kQuad>
inline Words QuadOfNibbles(const std::uint8_t* bytes) {
  const Words word = LoadWords(bytes);
  return _mm256_and_si256(kQuad == 0 ? word : _mm256_srli_epi32(word, 4), _mm256_set1_epi8(15));
}

// Values are doubled and moved up by 12 to be integers from 0 to 24; the scale is halved, which is exact.
template <class QuadDots>
struct Fp4Quads {
  using Dots = QuadDots;
  static constexpr std::size_t kStepBytes = 256;
  template <int kQuad>
  static Words Word(const std::uint8_t* bytes) {
    const __m128i table = _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), QuadOfNibbles<kQuad>(bytes));
  }
  static Vec Scale(const std::uint8_t* header, int row) { return Mul(GroupScale(header, row), Set(0.5f)); }
  static Vec Offset(const std::uint8_t*, int) { return Set(12.0f); }
};

template <class QuadDots>
struct Int4Quads {
  using Dots = QuadDots;
  static constexpr std::size_t kStepBytes = 256;
  static constexpr float kWordZero = 0;
  template <int kQuad>
  static Words Word(const std::uint8_t* bytes) {
    return QuadOfNibbles<kQuad>(bytes);
  }
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
  static Vec Offset(const std::uint8_t* header, int row) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(LoadBytes8(header + 128 + row)));
  }
};

// Weights from -128 to 127, whose signs go to x, which is -128 only in tokens that are not finite.
template <class QuadDots>
struct SignedQuadDots : QuadDots {
  static QuadSums::Sum Add(QuadSums::Sum sum, Words weights, Words x) {
    return QuadDots::Add(sum, _mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights));
  }
};

template <class QuadDots>
struct Iq4Quads {
  using Dots = SignedQuadDots<QuadDots>;
  static constexpr std::size_t kStepBytes = 256;
  template <int kQuad>
  static Words Word(const std::uint8_t* bytes) {
    return _mm256_shuffle_epi8(Iq4Bytes(), QuadOfNibbles<kQuad>(bytes));
  }
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

template <class QuadDots>
struct Int8Quads {
  using Dots = SignedQuadDots<QuadDots>;
  static constexpr std::size_t kStepBytes = 512;
  template <int kQuad>
  static Words Word(const std::uint8_t* bytes) {
    return LoadWords(bytes + 256 * kQuad);
  }
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

}  // namespace
}  // namespace marlin
