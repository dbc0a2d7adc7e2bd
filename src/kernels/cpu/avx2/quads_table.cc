// The kernels of AVX2 with activations rounded to int8, whole sums. Exports its table and nothing else.
#include "kernels/cpu/avx2/quads.h"
#include "kernels/cpu/dots_body.h"

namespace marlin {
namespace {

// In memory, because all registers are taken.
alignas(32) constexpr std::int16_t kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

// Pairs of products are summed in 16 bits. Weights are at most 128, x at most 127 in size: a pair is at most 32512, so
// nothing saturates.
struct QuadDots : QuadTiles {
  static Sum Add(Sum sum, Words weights, Words x) {
    Words pairs = _mm256_maddubs_epi16(weights, x);
    asm("vpmaddwd %1, %0, %0" : "+x"(pairs) : "m"(kOnes));
    return AddWhole(sum, pairs);
  }
};

}  // namespace

const DotTable kAvx2QuadTable = {
    .input = {QuadDots::WordsOfToken, PackQuads},
    .peak = kDotPeak<QuadDots>,
    .fp4 = MatmulDots<Fp4Quads<QuadDots>>,
    .int4 = MatmulDots<Int4Quads<QuadDots>>,
    .int8 = MatmulDots<Int8Quads<QuadDots>>,
    .bf16 = nullptr,
};

}  // namespace marlin
