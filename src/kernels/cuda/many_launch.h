// What many.cu hands to the kernels of many_kernel.cuh.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/cuda/many.h"
#include "kernels/cuda/many_power.h"

namespace marlin::cuda {

// How the sums of a product are divided among blocks: a tile of kManyRows rows and some tokens each.
inline constexpr int kManyRows = 256;
struct ManyDivision {
  int tokens = 32;       // of a tile: 32, 64 or 128
  int cluster_log2 = 0;  // blocks of a cluster divide the columns of one tile
  int blocks = 0;        // in all
};

struct ManyArgs {
  const std::uint8_t* records;
  const float* powers;  // of tokens
  const float* bias;    // or null
  View<float> out;
  int rows, tokens;
  int panels, blocks;  // of the weight: 64 rows, 256 columns
  int row_tiles, token_tiles;
  int cluster_log2;
  float power;  // of the weight
  bool adds;    // out += added * products, else out = the products
  float added;
  ManyFactors factors;
};

// Each launches the kernel of the format, if it has one. map: of the tokens, in boxes of 64 columns x a tile's tokens.
using LaunchManyFn = bool(const FewFormat& format, const ManyArgs& args, const CUtensorMap& map,
                          const ManyDivision& division, cudaStream_t stream);
LaunchManyFn LaunchManyFp4, LaunchManyIq4, LaunchManyInt4, LaunchManyInt4Zeros, LaunchManyInt4Biased, LaunchManyInt5,
    LaunchManyInt5Biased, LaunchManyInt6, LaunchManyInt8;

}  // namespace marlin::cuda
