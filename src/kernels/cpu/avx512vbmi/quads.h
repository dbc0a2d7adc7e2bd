// Quads of bytes on AVX-512 VBMI. Its permutation of bytes uses 6 bits of an index; with the table stored four times,
// nibbles need no mask. The rest is the same as for VNNI.
#pragma once

#include "kernels/cpu/avx512vnni/quads.h"

namespace marlin {
namespace {

template <class Dots>
struct Fp4PermutedQuads : Fp4Quads<Dots> {
  template <int kQuad>
  static Words Word(const std::uint8_t* bytes) {
    const __m512i word = LoadBytes64(bytes);
    return _mm512_permutexvar_epi8(kQuad == 0 ? word : _mm512_srli_epi32(word, 4), Fp4Bytes());
  }
};

}  // namespace
}  // namespace marlin
