// Quads of bytes on AVX-512: packing activations, decoding weights (dots_body.h has the interface, layout.h the
// picture). The dot product takes unsigned weights, so they are moved up by an offset that is subtracted from the sums.
#pragma once

#include "kernels/cpu/avx512/codes.h"
#include "kernels/cpu/avx512/words.h"
#include "kernels/cpu/tile.h"

namespace marlin {
namespace {

struct QuadDots {
  static constexpr int kStepWords = 2;
  static constexpr std::size_t kFewTokens = 3;  // GCC 12 spills the sums of more
  using Sum = __m512i;
  template <int T>
  struct TokenParams {
    const float* scales;
    InputSumsOf<T> sums;
  };
  static std::size_t WordsOfToken(std::size_t k) { return QuadWords(k); }
  static Sum Start() { return _mm512_setzero_si512(); }
  static float First(Sum sum) { return static_cast<float>(_mm_cvtsi128_si32(_mm512_castsi512_si128(sum))); }
  // As an instruction: GCC 12 copies the sum of the intrinsic through another mode and the stack.
  static Sum Add(Sum sum, Words weights, Words x) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(x));
    return sum;
  }
  template <int T>
  static TokenParams<T> Params(const std::uint32_t* packed, std::size_t cols, std::size_t begin, std::size_t length) {
    const std::uint32_t* const scales = packed + (cols + 7) / 8 * kStepWords * T;
    return {reinterpret_cast<const float*>(scales) + begin / kQuadGroup * T,
            {scales + QuadGroups(cols) * T, begin, length}};
  }
  // At most 255 x 127 x 128 < 2^23 before the offset is subtracted: exact.
  template <int T>
  static Vec Value(Sum sum, Vec offset, const TokenParams<T>& token, int t) {
    const Vec whole = _mm512_fnmadd_ps(offset, Broadcast(token.sums.at + t), _mm512_cvtepi32_ps(sum));
    return Mul(whole, Broadcast(token.scales + t));
  }
};

struct QuadCode {
  using Dots = QuadDots;
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

template <int kQuad>
inline __m512i QuadOfNibbles(const std::uint8_t* bytes) {
  const __m512i word = LoadBytes64(bytes);
  return _mm512_and_si512(kQuad == 0 ? word : _mm512_srli_epi32(word, 4), _mm512_set1_epi8(15));
}

// Values are doubled and moved up by 12 to be whole numbers from 0 to 24; the scale is halved, which is exact.
struct Fp4Quads : QuadCode {
  static constexpr std::size_t kStepBytes = 256;
  template <int kQuad>
  static Words Word(const std::uint8_t* bytes) {
    const __m512i table = _mm512_broadcast_i32x4(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24,  //
                                                               12, 11, 10, 9, 8, 6, 4, 0));
    return _mm512_shuffle_epi8(table, QuadOfNibbles<kQuad>(bytes));
  }
  static Vec Scale(const std::uint8_t* header, int row) { return Mul(GroupScale(header, row), Set(0.5f)); }
  static Vec Offset(const std::uint8_t*, int) { return Set(12.0f); }
};

struct Int4Quads : QuadCode {
  static constexpr std::size_t kStepBytes = 256;
  template <int kQuad>
  static Words Word(const std::uint8_t* bytes) {
    return QuadOfNibbles<kQuad>(bytes);
  }
  static Vec Offset(const std::uint8_t* header, int row) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(LoadBytes16(header + 128 + row)));
  }
};

struct Int8Quads : QuadCode {
  static constexpr std::size_t kStepBytes = 512;
  template <int kQuad>
  static Words Word(const std::uint8_t* bytes) {
    return _mm512_xor_si512(LoadBytes64(bytes + 256 * kQuad), _mm512_set1_epi8(-128));
  }
  static Vec Offset(const std::uint8_t*, int) { return Set(128.0f); }
};

// 16 floats; those beyond `count` are 0.
inline Vec LoadUpTo16(const float* x, std::size_t count) { return count >= 16 ? Load(x) : LoadPartial(x, count, 0); }

// The largest |x|; NaN where one is not finite.
inline float PeakOf(const float* x, std::size_t length) {
  Vec peaks = Zero();
  unsigned unbounded = 0;
  for (std::size_t i = 0; i < length; i += 16) {
    const Vec a = _mm512_abs_ps(LoadUpTo16(x + i, length - i));
    unbounded |= _mm512_cmp_ps_mask(a, Set(__builtin_inff()), _CMP_NLT_UQ);
    peaks = Max(a, peaks);
  }
  return unbounded != 0 ? __builtin_nanf("") : ReduceMax(peaks);
}

// One token, its words `width` apart.
inline void PackToken(const float* x, std::size_t k, std::uint32_t* to, std::size_t width) {
  const std::size_t words = (k + 7) / 8 * 2;
  const auto put = [&](std::size_t word, float value) { __builtin_memcpy(to + word * width, &value, sizeof(value)); };
  float inverse = 0;
  __m512i sums = _mm512_setzero_si512();
  for (std::size_t i = 0; i < k; i += 16) {
    if (i % kQuadGroup == 0) {
      const float peak = PeakOf(x + i, k - i < kQuadGroup ? k - i : kQuadGroup);
      inverse = peak > 0 ? 127 / peak : 0.0f;
      put(words + i / kQuadGroup, peak / 127);
    }
    const __m512i whole = _mm512_cvtps_epi32(Mul(LoadUpTo16(x + i, k - i), Set(inverse)));
    std::uint32_t quads[4];
    _mm_storeu_si128(reinterpret_cast<__m128i*>(quads), _mm512_cvtsepi32_epi8(whole));
    for (std::size_t w = i / 4; w < i / 4 + 4 && w < words; ++w) to[w * width] = quads[w - i / 4];
    sums = _mm512_add_epi32(sums, whole);
    if (i % kSumLength + 16 < kSumLength && i + 16 < k) continue;
    put(words + QuadGroups(k) + i / kSumLength, static_cast<float>(_mm512_reduce_add_epi32(sums)));
    sums = _mm512_setzero_si512();
  }
}

void PackQuads(const float* x, std::size_t x_stride, std::size_t m, std::size_t k, std::uint32_t* words) noexcept {
  for (std::size_t t = 0; t < m; ++t) {
    const TokenPlace place = PlaceOfToken(t, m, QuadWords(k));
    PackToken(x + t * x_stride, k, words + place.offset, place.width);
  }
}

}  // namespace
}  // namespace marlin
