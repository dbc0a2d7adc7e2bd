// The kernels of AVX-512 with VNNI: activations rounded to int16, whole sums. Exports its table and nothing else.
#include "kernels/cpu/avx512vnni/pairs.h"
#include "kernels/cpu/avx512vnni/split_quads.h"

namespace marlin {

const DotTable kAvx512SplitTable = {
    .input = {SplitQuadDots::WordsOfToken, PackInt16<SplitPacking>, true, PackInt16<PairPacking>, kLeastPairTokens},
    .peak = kDotPeak<SplitQuadDots>,
    .fp4 = MatmulInt16<Fp4Quads<SplitQuadDots>, Fp4WholePairs>,
    .int4 = MatmulInt16<Int4Quads<SplitQuadDots>, Int4WholePairs>,
    .int8 = MatmulInt16<Int8Quads<SplitQuadDots>, Int8WholePairs>,
    .bf16 = nullptr,
};

}  // namespace marlin
