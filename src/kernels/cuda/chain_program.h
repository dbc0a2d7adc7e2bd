// Makes the program of a chain (chain_layout.h) of the operations of a decode step. Needs no device.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "kernels/cuda/chain_layout.h"
#include "kernels/cuda/few.h"

namespace marlin::cuda {

// Operations of one token as they were queued. Products keep their weight; `out` is where they write.
struct ChainFactor {
  FewWeight weight;
  const float* bias = nullptr;
  const float* out = nullptr;
};
struct ChainNorm {
  View<const float> x;
  const float* weight = nullptr;
  float eps = 0;
  NormKind kind = NormKind::kRms;
};
struct ChainNormedProducts {
  ChainNorm norm;
  std::vector<ChainFactor> factors;
};
struct ChainRopeAppend {
  CacheView cache;
  const std::int32_t* position = nullptr;
  RopeTables of_queries, of_keys;
  const float* queries = nullptr;
  const float* keys = nullptr;
  const float* values = nullptr;
};
struct ChainAttend {
  AttentionShape shape;
  CacheView cache;
  const std::int32_t* position = nullptr;
  const float* queries = nullptr;
  const float* out = nullptr;
};
struct ChainAddedProduct {
  ChainFactor factor_matrix;  // its out += factor * product
  const float* x = nullptr;
  float factor = 1;
};
struct ChainGatedProducts {
  ChainNorm norm;
  ChainFactor gate, up;
  Activation activation = Activation::kSilu;
};
using ChainOperation =
    std::variant<ChainNormedProducts, ChainRopeAppend, ChainAttend, ChainAddedProduct, ChainGatedProducts>;

// The largest number of workers, at most so many blocks, with which no panel has more than kMostSpans of them.
ChainDivision DivideChain(int panels, int blocks, int most);

struct ChainProgram {
  FewFormat format;
  std::size_t head_dim = 0;
  const std::int32_t* position = nullptr;
  std::vector<ChainStep> steps;
  std::size_t bytes = 0;  // of the device's memory at `memory`
};

// blocks: of the kernel. memory: where the program has the device's memory for what is between its steps, a multiple
// of 256; null: to learn how much it needs. None: the operations are no chain.
std::optional<ChainProgram> MakeChain(std::span<const ChainOperation> operations, int blocks, std::byte* memory);

}  // namespace marlin::cuda
