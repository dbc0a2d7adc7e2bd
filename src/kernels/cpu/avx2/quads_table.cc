// The kernels of AVX2 with activations rounded to int8, exact sums. Exports its table and nothing else.
#include "kernels/cpu/avx2/quads.h"
#include "kernels/cpu/dots_body.h"

namespace marlin {
namespace {

// In memory, because all registers are taken.
alignas(32) constexpr std::int16_t kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

// Pairs of products are summed in 16 bits. Weights are at most 128, x at most 127 in size: a pair is at most 32512, so
// nothing saturates.
struct QuadDots : QuadTiles {
  // A dot product takes up to three instructions: decoding the words of a block again costs less than keeping them.
  static constexpr std::size_t kFewTokens = 2 * kTokenTile;
  static Sum Add(Sum sum, Words weights, Words x) {
    Words pairs = _mm256_maddubs_epi16(weights, x);
    asm("vpmaddwd %1, %0, %0" : "+x"(pairs) : "m"(kOnes));
    return AddInPlace(sum, pairs);
  }
};

// Weights below 32: four products are at most 15748, so that two pairs are summed in 16 bits too.
struct SmallQuadDots : QuadDots {
  static Sum AddTwo(Sum sum, Words weights, Words x, Words next_weights, Words next_x) {
    const Words pairs = _mm256_add_epi16(_mm256_maddubs_epi16(weights, x), _mm256_maddubs_epi16(next_weights, next_x));
    return AddInPlace(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

}  // namespace

const DotTable kAvx2QuadTable = {
    .input = {QuadDots::WordsOfToken, PackQuads},
    .peak = kDotPeak<SmallQuadDots>,
    .fp4 = MatmulDots<Fp4Quads<SmallQuadDots>>,
    .int4 = MatmulDots<Int4Quads<SmallQuadDots>>,
    .affine4 = MatmulDots<BiasedDots<Int4Quads<SmallQuadDots>>>,
    .iq4 = MatmulDots<Iq4Quads<QuadDots>>,
    .int8 = MatmulDots<Int8Quads<QuadDots>>,
    .bf16 = nullptr,
};

}  // namespace marlin
