// The kernels of AVX-VNNI with activations rounded to int8, exact sums. Exports its table and nothing else.
#include "kernels/cpu/avx2/quads.h"
#include "kernels/cpu/dots_body.h"

namespace marlin {
namespace {

struct QuadDots : QuadTiles {
  static Sum Add(Sum sum, Words weights, Words x) { return _mm256_dpbusd_avx_epi32(sum, weights, x); }
};

}  // namespace

const DotTable kAvxVnniQuadTable = {
    .input = {QuadDots::WordsOfToken, PackQuads},
    .peak = kDotPeak<QuadDots>,
    .fp4 = MatmulDots<Fp4Quads<QuadDots>>,
    .int4 = MatmulDots<Int4Quads<QuadDots>>,
    .affine4 = MatmulDots<BiasedDots<Int4Quads<QuadDots>>>,
    .iq4 = MatmulDots<Iq4Quads<QuadDots>>,
    .int8 = MatmulDots<Int8Quads<QuadDots>>,
    .bf16 = nullptr,
};

}  // namespace marlin
