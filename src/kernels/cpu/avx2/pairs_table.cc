// The kernels of AVX2 with activations rounded to int16, exact sums. Exports its table and nothing else.
#include "kernels/cpu/avx2/pairs.h"
#include "kernels/cpu/dots_body.h"

namespace marlin {
namespace {

struct PairDots : PairTiles {
  // A dot product takes two instructions: decoding the words of a block again costs less than keeping them.
  static constexpr std::size_t kFewTokens = 2 * kTokenTile;
  static Sum Add(Sum sum, Words weights, Words x) { return AddPairs(sum, weights, x); }
};

}  // namespace

const DotTable kAvx2PairTable = {
    .input = {PairDots::WordsOfToken, PackInt16<Int16Packing>},
    .peak = kDotPeak<PairDots>,
    .fp4 = MatmulDots<Fp4IntPairs<PairDots>>,
    .int4 = MatmulDots<Int4IntPairs<PairDots>>,
    .affine4 = MatmulDots<BiasedDots<Int4IntPairs<PairDots>>>,
    .iq4 = MatmulDots<Iq4IntPairs<PairDots>>,
    .int8 = MatmulDots<Int8IntPairs<PairDots>>,
    .bf16 = nullptr,
};

}  // namespace marlin
