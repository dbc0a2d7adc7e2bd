// The kernels of AVX-512 with BF16: activations rounded to bf16, sums in fp32. Exports its table and nothing else.
#include "kernels/cpu/avx512bf16/codes.h"
#include "kernels/cpu/dots_body.h"

namespace marlin {

const DotTable kAvx512Bf16Table = {
    .input = {PairDots::WordsOfToken, PackPairs<PairRounding>},
    .peak = kDotPeak<PairDots>,
    .fp4 = MatmulDots<Fp4Pairs>,
    .int4 = MatmulDots<Int4Pairs>,
    .affine4 = MatmulDots<BiasedDots<Int4Pairs>>,
    .iq4 = MatmulDots<Iq4Pairs>,
    .int8 = MatmulDots<Int8Pairs>,
    .bf16 = MatmulDots<Bf16Pairs>,
};

}  // namespace marlin
