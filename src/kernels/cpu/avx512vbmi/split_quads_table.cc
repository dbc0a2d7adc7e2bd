// The kernels of AVX-512 with VNNI and VBMI: activations rounded to int16, packed as for the kernels of VNNI. Exports
// its table and nothing else.
#include "kernels/cpu/avx512vbmi/quads.h"
#include "kernels/cpu/avx512vnni/pairs.h"
#include "kernels/cpu/avx512vnni/split_quads.h"

namespace marlin {

const DotTable kAvx512VbmiSplitTable = {
    .input = {},
    .peak = {},
    .fp4 = MatmulInt16<Fp4PermutedQuads<SplitQuadDots>, Fp4IntPairs>,
    .int4 = nullptr,
    .affine4 = nullptr,
    .iq4 = nullptr,
    .int8 = nullptr,
    .bf16 = nullptr,
};

}  // namespace marlin
