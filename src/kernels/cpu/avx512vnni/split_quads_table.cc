// The kernels of AVX-512 with VNNI: activations rounded to int16, exact sums. Exports its table and nothing else.
#include "kernels/cpu/avx512vnni/pairs.h"
#include "kernels/cpu/avx512vnni/split_quads.h"

namespace marlin {

const DotTable kAvx512SplitTable = {
    .input = {SplitQuadDots::WordsOfToken, PackInt16<SplitPacking>, true, PackInt16<PairPacking>, kLeastPairTokens},
    .peak = kDotPeak<SplitQuadDots>,
    .fp4 = MatmulInt16<Fp4Quads<SplitQuadDots>, Fp4IntPairs>,
    .int4 = MatmulInt16<Int4Quads<SplitQuadDots>, Int4IntPairs>,
    .affine4 = MatmulInt16<BiasedDots<Int4Quads<SplitQuadDots>>, BiasedDots<Int4IntPairs>>,
    .iq4 = MatmulInt16<Iq4Quads<SplitQuadDots>, Iq4IntPairs>,
    .int8 = MatmulInt16<Int8Quads<SplitQuadDots>, Int8IntPairs>,
    .bf16 = nullptr,
};

}  // namespace marlin
