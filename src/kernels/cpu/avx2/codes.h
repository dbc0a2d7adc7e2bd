// How AVX2 decodes the weights of each format family (layout.h has the picture, direct_body.h the interface).
#pragma once

#include "kernels/cpu/avx2/vec.h"
#include "kernels/layout.h"

namespace marlin {
namespace {

inline __m256i LoadBytes32(const std::uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline __m128i LoadBytes16(const std::uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
inline __m128i LoadBytes8(const std::uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }

inline Vec GroupScale(const std::uint8_t* header, int row) { return _mm256_cvtph_ps(LoadBytes16(header + 2 * row)); }

// The 8 columns of a step as signed bytes: byte j of 32-bit word r is column j (low) or 4 + j (high) of row r.
struct ByteStep {
  __m256i low;
  __m256i high;
};

inline ByteStep SplitNibbles(const std::uint8_t* p) {
  const __m256i word = LoadBytes32(p);
  const __m256i mask = _mm256_set1_epi8(15);
  return {_mm256_and_si256(word, mask), _mm256_and_si256(_mm256_srli_epi32(word, 4), mask)};
}

template <int kK>
inline Vec SignedByte(const ByteStep& step) {
  const __m256i word = kK < 4 ? step.low : step.high;
  constexpr int kUp = 24 - 8 * (kK % 4);
  return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(word, kUp), 24));
}

// In both halves, as a shuffle reads it.
inline __m256i Fp4Bytes() {
  return _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12));
}
inline __m256i Iq4Bytes() {
  return _mm256_broadcastsi128_si256(
      _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113));
}

// Nibbles are indices of a table of signed bytes.
template <__m256i (*Table)()>
struct TableCode {
  static constexpr int kStep = 8;
  static constexpr int kStepBytes = 256;
  static constexpr int kVectorBytes = 32;
  struct Zero {};
  using Step = ByteStep;
  static Zero LoadZero(const std::uint8_t*, int) { return {}; }
  static Step Load(const std::uint8_t* p, Zero) {
    const ByteStep codes = SplitNibbles(p);
    return {_mm256_shuffle_epi8(Table(), codes.low), _mm256_shuffle_epi8(Table(), codes.high)};
  }
  template <int kK>
  static Vec Value(const Step& step, Zero) {
    return SignedByte<kK>(step);
  }
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

using Iq4Code = TableCode<Iq4Bytes>;

// Values are doubled to be integers; the scale is halved, which is exact.
struct Fp4Code : TableCode<Fp4Bytes> {
  static Vec Scale(const std::uint8_t* header, int row) { return Mul(GroupScale(header, row), Set(0.5f)); }
};

struct Int4Code {
  static constexpr int kStep = 8;
  static constexpr int kStepBytes = 256;
  static constexpr int kVectorBytes = 32;
  struct Zero {
    __m256i point;  // in each of the four bytes of a row's word
  };
  using Step = ByteStep;
  static Zero LoadZero(const std::uint8_t* header, int row) {
    const __m256i points = _mm256_cvtepu8_epi32(LoadBytes8(header + 128 + row));
    return {_mm256_mullo_epi32(points, _mm256_set1_epi32(0x01010101))};
  }
  static Step Load(const std::uint8_t* p, const Zero& zero) {
    const ByteStep codes = SplitNibbles(p);
    return {_mm256_sub_epi8(codes.low, zero.point), _mm256_sub_epi8(codes.high, zero.point)};
  }
  template <int kK>
  static Vec Value(const Step& step, const Zero&) {
    return SignedByte<kK>(step);
  }
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

// Codes as they are.
struct NibbleCode {
  static constexpr int kStep = 8;
  static constexpr int kStepBytes = 256;
  static constexpr int kVectorBytes = 32;
  struct Zero {};
  struct Step {
    __m256i word;
  };
  static Step Load(const std::uint8_t* p, Zero) { return {LoadBytes32(p)}; }
  template <int kK>
  static Vec Value(const Step& step, Zero) {
    constexpr int kDown = kK < 4 ? 8 * kK : 8 * (kK - 4) + 4;
    const __m256i low = _mm256_srli_epi32(step.word, kDown);
    return _mm256_cvtepi32_ps(kDown == 28 ? low : _mm256_and_si256(low, _mm256_set1_epi32(15)));
  }
};

struct Int8Code {
  static constexpr int kStep = 8;
  static constexpr int kStepBytes = 512;
  static constexpr int kVectorBytes = 32;
  struct Zero {};
  using Step = ByteStep;
  static Zero LoadZero(const std::uint8_t*, int) { return {}; }
  static Step Load(const std::uint8_t* p, Zero) { return {LoadBytes32(p), LoadBytes32(p + 256)}; }
  template <int kK>
  static Vec Value(const Step& step, Zero) {
    return SignedByte<kK>(step);
  }
  static Vec Scale(const std::uint8_t* header, int row) { return GroupScale(header, row); }
};

// Formats of 16 bits are stored in steps of 8 columns: four words per row, 64 rows apart.
struct PairCode {
  static constexpr int kStep = 8;
  static constexpr int kStepBytes = 1024;
  static constexpr int kVectorBytes = 32;
  struct Zero {};
  struct Step {
    const std::uint8_t* words;
  };
  static Zero LoadZero(const std::uint8_t*, int) { return {}; }
  static Step Load(const std::uint8_t* p, Zero) { return {p}; }
  static Vec Scale(const std::uint8_t*, int) { return Set(1.0f); }

 protected:
  template <int kK>
  static __m256i Word(const Step& step) {
    return LoadBytes32(step.words + 256 * PairOf(kK));
  }
};

struct Bf16Code : PairCode {
  template <int kK>
  static Vec Value(const Step& step, Zero) {
    const __m256i word = Word<kK>(step);
    return _mm256_castsi256_ps(HalfOf(kK) == 0 ? _mm256_slli_epi32(word, 16)
                                               : _mm256_and_si256(word, _mm256_set1_epi32(-65536)));
  }
};

struct Fp16Code : PairCode {
  template <int kK>
  static Vec Value(const Step& step, Zero) {
    const __m256i word = Word<kK>(step);
    const __m256i low =
        HalfOf(kK) == 0 ? _mm256_and_si256(word, _mm256_set1_epi32(65535)) : _mm256_srli_epi32(word, 16);
    return _mm256_cvtph_ps(_mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
  }
};

struct Fp32Code {
  static constexpr int kStep = 1;
  static constexpr int kStepBytes = 256;
  static constexpr int kVectorBytes = 32;
  struct Zero {};
  struct Step {
    Vec value;
  };
  static Zero LoadZero(const std::uint8_t*, int) { return {}; }
  static Step Load(const std::uint8_t* p, Zero) { return {_mm256_castsi256_ps(LoadBytes32(p))}; }
  template <int kK>
  static Vec Value(const Step& step, Zero) {
    return step.value;
  }
  static Vec Scale(const std::uint8_t*, int) { return Set(1.0f); }
};

}  // namespace
}  // namespace marlin
