// Portable kernels. One of them supports every format through the format's own Decode, so a new format works at once.
#include "kernels/cpu/scalar/vec.h"
// The bodies come after the vectors they are written in.
#include "kernels/cpu/decode_body.h"
#include "kernels/cpu/ops_body.h"

namespace marlin {
const IsaTable kScalarTable = {
    .any = MatmulAny,
    .fp4 = nullptr,
    .int4 = nullptr,
    .affine4 = nullptr,
    .iq4 = nullptr,
    .int8 = nullptr,
    .bf16 = nullptr,
    .fp16 = nullptr,
    .fp32 = nullptr,
    .ops = kOps,
};

}  // namespace marlin
