// Quads of bytes on AVX-512: decoding weights (dots_body.h has the interface, layout.h the picture). The dot product
// takes unsigned weights, so an offset is added to them and subtracted from the sums.
#pragma once

#include "kernels/cpu/avx512/codes.h"
#include "kernels/cpu/avx512/words.h"
// The body comes after the words it is written in.
#include "kernels/cpu/quads_body.h"

namespace marlin {
namespace {

struct QuadDots : QuadSums, DotShape {
  static Sum Add(Sum sum, Words weights, Words x) { return _mm512_dpbusd_epi32(sum, weights, x); }
  static Vec OffsetOf(int offset) { return Set(static_cast<float>(offset)); }
  static Vec OffsetsOf(Ints offsets) { return _mm512_cvtepi32_ps(offsets); }
};

template <class SomeDots>
struct QuadCode {
  using Dots = SomeDots;
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

template <int kQuad>
inline __m512i QuadOfNibbles(const std::uint8_t* bytes) {
  const __m512i word = LoadBytes64(bytes);
  return _mm512_and_si512(kQuad == 0 ? word : _mm512_srli_epi32(word, 4), _mm512_set1_epi8(15));
}

inline __m512i Fp4Bytes() {
  return _mm512_broadcast_i32x4(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
}

inline __m512i Iq4Bytes() {
  return _mm512_broadcast_i32x4(
      _mm_setr_epi8(1, 24, 45, 63, 79, 93, 106, 118, -127, -115, -103, -90, -75, -59, -39, -15));
}

// Nibbles are indices of a table.
template <class Dots, __m512i (*Table)()>
struct TableQuads : QuadCode<Dots> {
  static constexpr std::size_t kStepBytes = 256;
  template <int kQuad>
  static Words Word(const std::uint8_t* bytes) {
    return _mm512_shuffle_epi8(Table(), QuadOfNibbles<kQuad>(bytes));
  }
};

// Values are moved up by 128.
template <class Dots>
struct Iq4Quads : TableQuads<Dots, Iq4Bytes> {
  static auto Offset(const std::uint8_t*, int) { return Dots::OffsetOf(128); }
};

// Values are doubled and moved up by 12 to be integers from 0 to 24; the scale is halved, which is exact.
template <class Dots>
struct Fp4Quads : TableQuads<Dots, Fp4Bytes> {
  static Vec Scale(const std::uint8_t* header, int row) { return Mul(GroupScale(header, row), Set(0.5f)); }
  static auto Offset(const std::uint8_t*, int) { return Dots::OffsetOf(12); }
};

template <class Dots>
struct Int4Quads : QuadCode<Dots> {
  static constexpr std::size_t kStepBytes = 256;
  static constexpr float kWordZero = 0;
  template <int kQuad>
  static Words Word(const std::uint8_t* bytes) {
    return QuadOfNibbles<kQuad>(bytes);
  }
  static auto Offset(const std::uint8_t* header, int row) {
    return Dots::OffsetsOf(_mm512_cvtepu8_epi32(LoadBytes16(header + 128 + row)));
  }
};

template <class Dots>
struct Int8Quads : QuadCode<Dots> {
  static constexpr std::size_t kStepBytes = 512;
  template <int kQuad>
  static Words Word(const std::uint8_t* bytes) {
    return _mm512_xor_si512(LoadBytes64(bytes + 256 * kQuad), _mm512_set1_epi8(-128));
  }
  static auto Offset(const std::uint8_t*, int) { return Dots::OffsetOf(128); }
};

}  // namespace
}  // namespace marlin
