// The kernels of AVX-512 with VNNI: activations rounded to int16, whole sums. Exports its table and nothing else.
#include "kernels/cpu/avx512vnni/split_quads.h"
#include "kernels/cpu/dots_body.h"

namespace marlin {

const DotTable kAvx512SplitTable = {
    .input = {SplitQuadDots::WordsOfToken, PackInt16<Int16Packing>, true},
    .peak = kDotPeak<SplitQuadDots>,
    .fp4 = MatmulDots<Fp4Quads<SplitQuadDots>>,
    .int4 = MatmulDots<Int4Quads<SplitQuadDots>>,
    .int8 = MatmulDots<Int8Quads<SplitQuadDots>>,
    .bf16 = nullptr,
};

}  // namespace marlin
