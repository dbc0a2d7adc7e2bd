// Activations in int16 on AVX-512 VNNI: what kernels of bytes and of pairs share (int16_body.h has the interface).
#pragma once

#include "kernels/cpu/avx512/codes.h"
#include "kernels/cpu/avx512/words.h"

namespace marlin {
namespace {

inline Ints AddPairs(Ints sum, Words a, Words b) { return _mm512_dpwssd_epi32(sum, a, b); }

// 32 integers as int16.
inline Words ToInt16(Ints low, Ints high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtsepi32_epi16(low)), _mm512_cvtsepi32_epi16(high), 1);
}

}  // namespace
}  // namespace marlin

// The body comes after the words it is written in.
#include "kernels/cpu/int16_body.h"

namespace marlin {
namespace {

inline Words OffsetPair(int offset) { return _mm512_set1_epi32(offset * kOffsetPair); }
inline Words OffsetPairs(Ints offsets) { return _mm512_mullo_epi32(offsets, OffsetPair(1)); }

}  // namespace
}  // namespace marlin
