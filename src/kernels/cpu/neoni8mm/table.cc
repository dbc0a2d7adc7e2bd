// The kernels of NEON with matrix products of bytes: activations rounded to int8, exact sums. Few tokens use dot
// products. Exports its table and nothing else.
#include "kernels/cpu/neondotprod/codes.h"
// The body comes after the words it is written in.
#include "kernels/cpu/dots_body.h"

namespace marlin {
namespace {

struct MatrixDots : QuadDots, TwoByTwo {
  // Chosen by counting instructions of fp4, not by timing: 4 tokens take as many unpacked, 6 a fifth less.
  static constexpr std::size_t kFewTokens = 4;
  static Sum AddTwoByTwo(Sum sum, Words rows, Words tokens) {
    return vmmlaq_s32(sum, vreinterpretq_s8_u32(rows), vreinterpretq_s8_u32(tokens));
  }
};

}  // namespace

const DotTable kNeonI8mmTable = {
    .input = {},
    .peak = kDotPeak<MatrixDots>,
    .fp4 = MatmulDots<Fp4Quads<MatrixDots>>,
    .int4 = MatmulDots<Int4Quads<MatrixDots>>,
    .affine4 = MatmulDots<BiasedDots<Int4Quads<MatrixDots>>>,
    .iq4 = MatmulDots<Iq4Quads<MatrixDots>>,
    .int8 = MatmulDots<Int8Quads<MatrixDots>>,
    .bf16 = nullptr,
};

}  // namespace marlin
