// The kernels of AVX2 with activations rounded to int8, whole sums. Exports its table and nothing else.
#include "kernels/cpu/avx2/quads.h"
#include "kernels/cpu/dots_body.h"

namespace marlin {

const DotTable kAvx2QuadTable = {
    .input = {QuadDots::WordsOfToken, PackQuads},
    .peak = kDotPeak<SmallQuadDots>,
    .fp4 = MatmulDots<Fp4Quads>,
    .int4 = MatmulDots<Int4Quads>,
    .int8 = MatmulDots<Int8Quads>,
    .bf16 = nullptr,
};

}  // namespace marlin
