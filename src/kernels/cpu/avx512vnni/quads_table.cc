// The kernels of AVX-512 with VNNI: activations rounded to int8, exact sums. Exports its table and nothing else.
#include "kernels/cpu/avx512vnni/quads.h"
#include "kernels/cpu/dots_body.h"

namespace marlin {

const DotTable kAvx512VnniTable = {
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
