// Divides products of few tokens and finds the kernel of their format.
#include <algorithm>
#include <array>

#include "base/check.h"
#include "kernels/cuda/few.h"
#include "kernels/cuda/few_decode.h"
#include "kernels/cuda/few_launch.h"
#include "kernels/cuda/launch.cuh"

namespace marlin::cuda {
namespace {

// The division whose busiest block has the least to read. Where that is equal, the largest tiles, and the fewest blocks
// of a cluster.
FewDivision Divide(const FewArgs& args, int processors) {
  FewDivision best;
  double least = 0;
  for (const int tiles : {16, 8, 4}) {
    const auto divides = [&](const FewMatrix& matrix) { return matrix.panels % (tiles / 4) == 0; };
    if (!std::all_of(args.matrices, args.matrices + args.count, divides)) continue;
    const int count = args.panels / (tiles / 4);
    for (const int log2 : {0, 1, 2}) {
      if (log2 > 0 && (tiles == 16 || count << log2 > processors || args.blocks < 4 << log2)) continue;
      if (log2 == 2 && tiles != 4) continue;  // was slower where clusters of two fill the device
      const int most = std::min(count, processors >> log2), rounds = (count + most - 1) / most;
      const double work = static_cast<double>(rounds * tiles) / (1 << log2);
      if (best.blocks != 0 && work >= least) continue;
      best = {tiles, log2, (count + rounds - 1) / rounds << log2, processors};
      least = work;
    }
  }
  return best;
}

constexpr std::array kLaunches = {&LaunchFewFp4,        &LaunchFewIq4,        &LaunchFewInt4,
                                  &LaunchFewInt4Zeros,  &LaunchFewInt4Biased, &LaunchFewInt5,
                                  &LaunchFewInt5Biased, &LaunchFewInt6,       &LaunchFewInt8};

}  // namespace

bool CanMultiplyRounded(int major) { return major >= 9; }

void MultiplyFewRounded(std::span<const FewProduct> products, const std::uint8_t* halves, const float* powers,
                        std::optional<float> added, cudaStream_t stream) {
  if (products.empty() || products[0].out.rows == 0) return;
  const FewWeight& first = *products[0].weight;
  FewArgs args = {};
  args.halves = halves;
  args.token_sums = halves + PlaceOfTokenSums(products[0].out.rows, first.cols);
  args.powers = powers;
  args.adds = added.has_value();
  args.factor = added.value_or(0);
  args.tokens = static_cast<int>(products[0].out.rows);
  args.blocks = static_cast<int>(first.blocks());
  for (const FewProduct& product : products) {
    const FewWeight& weight = *product.weight;
    if (weight.rows == 0) continue;
    const auto panels = static_cast<int>(weight.panels());
    args.matrices[args.count++] = {weight.records, product.bias.data,
                                   product.out,    static_cast<int>(weight.rows),
                                   panels,         PowerOfNumbers(weight.format.coding) * weight.unit};
    args.panels += panels;
  }
  if (args.count == 0) return;
  const FewDivision division = Divide(args, FactsOfDevice().processors);
  const auto launches = [&](LaunchFewFn* launch) { return launch(first.format, args, division, stream); };
  MARLIN_CHECK(std::ranges::any_of(kLaunches, launches), "one of few_*.cu has the kernel of the format");
}

}  // namespace marlin::cuda
