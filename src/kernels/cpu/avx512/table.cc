// The kernels of AVX-512 (F, BW, VL, DQ). Exports its table and nothing else.
#include "kernels/cpu/avx512/codes.h"
#include "kernels/cpu/avx512/vec.h"
#include "kernels/cpu/decode_body.h"
#include "kernels/cpu/direct_body.h"
#include "kernels/cpu/ops_body.h"

namespace marlin {

const IsaTable kAvx512Table = {
    .any = MatmulAny,
    .fp4 = Matmul<Fp4Code>,
    .int4 = Matmul<Int4Code>,
    .affine4 = Matmul<BiasedCode<NibbleCode>>,
    .iq4 = Matmul<Iq4Code>,
    .int8 = Matmul<Int8Code>,
    .bf16 = Matmul<Bf16Code>,
    .fp16 = Matmul<Fp16Code>,
    .fp32 = Matmul<Fp32Code>,
    .ops = kOps,
};

}  // namespace marlin
