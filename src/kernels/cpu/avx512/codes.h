// How AVX-512 decodes the weights of each format family (layout.h has the picture, direct_body.h the interface).
#pragma once

#include "kernels/cpu/avx512/vec.h"
#include "kernels/layout.h"

namespace marlin {
namespace {

inline __m512i LoadBytes64(const std::uint8_t* p) { return _mm512_loadu_si512(p); }
inline __m256i LoadBytes32(const std::uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline __m128i LoadBytes16(const std::uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

inline Vec GroupScale(const std::uint8_t* header, int row) { return _mm512_cvtph_ps(LoadBytes32(header + 2 * row)); }

// Where column kK of a step starts in a 32-bit word: 0 8 16 24 4 12 20 28.
template <int kK>
inline __m512i MoveNibbleDown(__m512i word) {
  constexpr unsigned kShift = kK < 4 ? 8 * kK : 8 * (kK - 4) + 4;
  if constexpr (kShift == 0) return word;
  return _mm512_srli_epi32(word, kShift);
}

// The nibbles of pair kPair are the lowest of both halves of a word moved down by 4 kPair bits. The upper half of a
// product does it: shifts compete with the permutation that follows for the two ports that do either.
template <int kPair>
inline __m512i MovePairDown(const std::uint8_t* bytes) {
  const __m512i word = LoadBytes64(bytes);
  if constexpr (kPair == 0) {
    return word;
  } else {
    return _mm512_mulhi_epu16(word, _mm512_set1_epi16(1 << (16 - 4 * kPair)));
  }
}

// Nibbles are indices of a table.
template <class Table>
struct TableCode {
  static constexpr int kStep = 8;
  static constexpr int kStepBytes = 256;
  static constexpr int kVectorBytes = 64;
  struct Zero {};
  struct Step {
    __m512i word;
  };
  static Zero LoadZero(const std::uint8_t*, int) { return {}; }
  static Step Load(const std::uint8_t* p, Zero) { return {LoadBytes64(p)}; }
  // The permutation looks at the low 4 bits of an index only, so the nibbles above need no mask.
  template <int kK>
  static Vec Value(const Step& step, Zero) {
    return _mm512_permutexvar_ps(MoveNibbleDown<kK>(step.word), Table::Values());
  }
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

struct Fp4Table {
  static Vec Values() {
    return _mm512_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f,  //
                          -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f);
  }
};
using Fp4Code = TableCode<Fp4Table>;

struct NibbleTable {
  static Vec Values() {
    return _mm512_setr_ps(0.0f, 1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f, 7.0f,  //
                          8.0f, 9.0f, 10.0f, 11.0f, 12.0f, 13.0f, 14.0f, 15.0f);
  }
};
using NibbleCode = TableCode<NibbleTable>;

struct Iq4Table {
  static Vec Values() {
    return _mm512_setr_ps(-127.0f, -104.0f, -83.0f, -65.0f, -49.0f, -35.0f, -22.0f, -10.0f,  //
                          1.0f, 13.0f, 25.0f, 38.0f, 53.0f, 69.0f, 89.0f, 113.0f);
  }
};
using Iq4Code = TableCode<Iq4Table>;

struct Int4Code {
  static constexpr int kStep = 8;
  static constexpr int kStepBytes = 256;
  static constexpr int kVectorBytes = 64;
  struct Zero {
    Vec point;  // 2^23 + zero point
  };
  struct Step {
    __m512i word;
  };
  static Zero LoadZero(const std::uint8_t* header, int row) {
    const __m512i points = _mm512_cvtepu8_epi32(LoadBytes16(header + 128 + row));
    return {_mm512_castsi512_ps(_mm512_or_si512(points, Bits2To23()))};
  }
  static Step Load(const std::uint8_t* p, Zero) { return {LoadBytes64(p)}; }
  // A nibble under the bits of 2^23 is the float 2^23 + code; minus 2^23 + zero point, exact. A table would be as
  // short, but its permutation competes with the shift for a port.
  template <int kK>
  static Vec Value(const Step& step, const Zero& zero) {
    constexpr int kAndOr = 0xea;  // (a & b) | c
    const __m512i code =
        _mm512_ternarylogic_epi32(MoveNibbleDown<kK>(step.word), _mm512_set1_epi32(15), Bits2To23(), kAndOr);
    return Sub(_mm512_castsi512_ps(code), zero.point);
  }
  static __m512i Bits2To23() { return _mm512_set1_epi32(0x4b000000); }
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

// Formats of up to 16 bits are stored in steps of 8 columns: kWords words per row of a step, 64 rows apart.
template <int kWords>
struct StepCode {
  static constexpr int kStep = 8;
  static constexpr int kStepBytes = 256 * kWords;
  static constexpr int kVectorBytes = 64;
  struct Zero {};
  struct Step {
    const std::uint8_t* words;
  };
  static Zero LoadZero(const std::uint8_t*, int) { return {}; }
  static Step Load(const std::uint8_t* p, Zero) { return {p}; }
  static Vec Scale(const std::uint8_t*, int) { return Set(1.0f); }

 protected:
  static __m512i Word(const Step& step, int word) { return LoadBytes64(step.words + 256 * word); }
};

struct Int8Code : StepCode<2> {
  template <int kK>
  static Vec Value(const Step& step, Zero) {
    const __m512i up = _mm512_slli_epi32(Word(step, kK / 4), 24 - 8 * (kK % 4));
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(up, 24));
  }
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

struct Bf16Code : StepCode<4> {
  template <int kK>
  static Vec Value(const Step& step, Zero) {
    const __m512i word = Word(step, PairOf(kK));
    return _mm512_castsi512_ps(HalfOf(kK) == 0 ? _mm512_slli_epi32(word, 16)
                                               : _mm512_and_si512(word, _mm512_set1_epi32(-65536)));
  }
};

struct Fp16Code : StepCode<4> {
  template <int kK>
  static Vec Value(const Step& step, Zero) {
    const __m512i word = Word(step, PairOf(kK));
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(HalfOf(kK) == 0 ? word : _mm512_srli_epi32(word, 16)));
  }
};

struct Fp32Code {
  static constexpr int kStep = 1;
  static constexpr int kStepBytes = 256;
  static constexpr int kVectorBytes = 64;
  struct Zero {};
  struct Step {
    Vec value;
  };
  static Zero LoadZero(const std::uint8_t*, int) { return {}; }
  static Step Load(const std::uint8_t* p, Zero) { return {_mm512_castsi512_ps(LoadBytes64(p))}; }
  template <int kK>
  static Vec Value(const Step& step, Zero) {
    return step.value;
  }
  static Vec Scale(const std::uint8_t*, int) { return Set(1.0f); }
};

}  // namespace
}  // namespace marlin
