// Divides products of many tokens and finds the kernel of their format.
#include <algorithm>
#include <array>

#include "base/check.h"
#include "kernels/cuda/halves.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/many_launch.h"

namespace marlin::cuda {
namespace {

// How long a block takes for a tile, in cycles, as measured on an H200 with FP4 of 128 columns a group: for 256
// columns, by the tokens of a tile; for what comes before and after, and for what a cluster adds to that. A tile of 128
// tokens is bound by the tensor cores; one of 32 by the decoding of its weights.
struct TileCost {
  int tokens;
  double block;
};
constexpr TileCost kTileCosts[] = {{128, 4570}, {64, 2950}, {32, 2300}};
constexpr double kTileStart = 4000, kClusterStart = 3000;

// Clusters that a device holds at once, of one block on a multiprocessor. Those of four do not fill groups of 18 or 16
// multiprocessors: an H200 holds 30, not 33.
int ClustersAtOnce(int processors, int cluster_log2) {
  const int clusters = processors >> cluster_log2;
  return cluster_log2 < 2 ? clusters : clusters * 10 / 11;
}

// The division that takes the least time by this model. It chooses what was the fastest of about 20 that were measured:
// 128 tokens a tile where there are tiles for all multiprocessors, else fewer or clusters of 2 or 4.
ManyDivision DivideTokens(int tokens, int row_tiles, int blocks, int processors) {
  ManyDivision best;
  double least = 0;
  for (const TileCost& cost : kTileCosts) {
    const int tiles = row_tiles * ((tokens + cost.tokens - 1) / cost.tokens);
    for (const int log2 : {0, 1, 2}) {
      const int at_once = ClustersAtOnce(processors, log2), columns = (blocks + (1 << log2) - 1) >> log2;
      if (log2 > 0 && (tiles > at_once || columns < 4)) continue;  // a cluster has one tile
      const int rounds = (tiles + at_once - 1) / at_once;
      const double time = rounds * (columns * cost.block + kTileStart) + (log2 > 0 ? kClusterStart : 0);
      if (best.blocks != 0 && time >= least) continue;
      best = {cost.tokens, log2, log2 > 0 ? tiles << log2 : std::min(tiles, processors)};
      least = time;
    }
  }
  return best;
}

// The driver's function, or null. It is asked for, so that programs start where there is no driver.
using EncodeFn = decltype(&cuTensorMapEncodeTiled);
EncodeFn Encode() {
  static const EncodeFn kFound = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
    const cudaError_t code =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result);
#else
    const cudaError_t code = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &found, cudaEnableDefault, &result);
#endif
    if (code != cudaSuccess) cudaGetLastError();  // there is none; the device goes on
    const bool is_there = code == cudaSuccess && result == cudaDriverEntryPointSuccess;
    return is_there ? reinterpret_cast<EncodeFn>(found) : nullptr;
  }();
  return kFound;
}

// Of halves [tokens, cols], in boxes of 64 columns x box_tokens.
CUtensorMap MapOf(const void* halves, std::size_t tokens, std::size_t cols, int box_tokens) {
  CUtensorMap map;
  const cuuint64_t sizes[] = {cols, tokens}, strides[] = {cols * 2};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(box_tokens)}, steps[] = {1, 1};
  const CUresult result = Encode()(&map, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2, const_cast<void*>(halves), sizes, strides,
                                   box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                   CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  MARLIN_CHECK(result == CUDA_SUCCESS, "tokens have a tensor map");
  return map;
}

constexpr std::array kManyLaunches = {&LaunchManyFp4,        &LaunchManyIq4,        &LaunchManyInt4,
                                      &LaunchManyInt4Zeros,  &LaunchManyInt4Biased, &LaunchManyInt5,
                                      &LaunchManyInt5Biased, &LaunchManyInt6,       &LaunchManyInt8};

}  // namespace

bool CanMultiplyMany(int major, int minor) {
#ifdef MARLIN_CUDA_HAS_SM_90A
  return major == 9 && minor == 0 && Encode() != nullptr;
#else
  static_cast<void>(major), static_cast<void>(minor);
  return false;
#endif
}

void MultiplyManyRounded(const FewProduct& product, const void* halves, const float* powers, std::optional<float> added,
                         cudaStream_t stream) {
  const FewWeight& weight = *product.weight;
  const View<float>& out = product.out;
  if (out.rows * weight.rows == 0) return;
  const auto tokens = static_cast<int>(out.rows), panels = static_cast<int>(weight.panels());
  const auto blocks = static_cast<int>(weight.blocks());
  const int row_tiles = (panels * static_cast<int>(kPanel) + kManyRows - 1) / kManyRows;
  const ManyDivision division = DivideTokens(tokens, row_tiles, blocks, FactsOfDevice().processors);
  const ManyArgs args = {weight.records,
                         powers,
                         product.bias.data,
                         out,
                         static_cast<int>(weight.rows),
                         tokens,
                         panels,
                         blocks,
                         row_tiles,
                         (tokens + division.tokens - 1) / division.tokens,
                         division.cluster_log2,
                         weight.power,
                         added.has_value(),
                         added.value_or(0),
                         FactorsOf(weight.format.coding, weight.power)};
  const CUtensorMap map = MapOf(halves, out.rows, PaddedCols(weight.cols), division.tokens);
  const auto launches = [&](LaunchManyFn* launch) { return launch(weight.format, args, map, division, stream); };
  MARLIN_CHECK(std::ranges::any_of(kManyLaunches, launches), "one of many_*.cu has the kernel of the format");
}

}  // namespace marlin::cuda
