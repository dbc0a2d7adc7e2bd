// The kernels of AVX-512 with VNNI: activations rounded to int8, whole sums. Exports its table and nothing else.
#include "kernels/cpu/avx512vnni/quads.h"
#include "kernels/cpu/dots_body.h"

namespace marlin {

const DotTable kAvx512VnniTable = {
    .input = {QuadDots::WordsOfToken, PackQuads},
    .peak = kDotPeak<QuadDots>,
    .fp4 = MatmulDots<Fp4Quads>,
    .int4 = MatmulDots<Int4Quads>,
    .int8 = MatmulDots<Int8Quads>,
    .bf16 = nullptr,
};

}  // namespace marlin
