// The kernels of AVX-512 with VNNI and VBMI: activations rounded to int8, packed as for the kernels of VNNI. Exports
// its table and nothing else.
#include "kernels/cpu/avx512vbmi/quads.h"
#include "kernels/cpu/dots_body.h"

namespace marlin {

const DotTable kAvx512VbmiTable = {
    .input = {},
    .peak = {},
    .fp4 = MatmulDots<Fp4PermutedQuads<QuadDots>>,
    .int4 = nullptr,
    .affine4 = nullptr,
    .iq4 = nullptr,
    .int8 = nullptr,
    .bf16 = nullptr,
};

}  // namespace marlin
