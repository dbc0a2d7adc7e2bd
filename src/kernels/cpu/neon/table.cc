// The kernels of AArch64 NEON. Exports its table and nothing else.
#include "kernels/cpu/neon/codes.h"
#include "kernels/cpu/neon/vec.h"
// The bodies come after the vectors they are written in.
#include "kernels/cpu/decode_body.h"
#include "kernels/cpu/direct_body.h"
#include "kernels/cpu/ops_body.h"

namespace marlin {

const IsaTable kNeonTable = {
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
