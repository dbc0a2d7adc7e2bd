// The kernels of AVX2 with activations rounded to int16, whole sums. Exports its table and nothing else.
#include "kernels/cpu/avx2/pairs.h"
#include "kernels/cpu/dots_body.h"

namespace marlin {

const DotTable kAvx2PairTable = {
    .input = {WholePairDots::WordsOfToken, PackWholePairs<WholePairPacking>},
    .peak = kDotPeak<WholePairDots>,
    .fp4 = MatmulDots<Fp4WholePairs>,
    .int4 = MatmulDots<Int4WholePairs>,
    .int8 = MatmulDots<Int8WholePairs>,
    .bf16 = nullptr,
};

}  // namespace marlin
