// A chain: the layers of a decode step of one token as a program that one kernel runs (chain.cu). Every block of the
// kernel walks the steps in order; a barrier of all blocks stands between two steps.
//
// A product is divided into items: a panel of 64 rows x a block of 256 columns. Items in order, columns fastest, are
// divided into equal ranges, one for each block. So a panel may belong to several blocks. Each puts its sums of the
// panel's rows into a slot of its own, and the step that reads the product adds the slots in order:
//
//   slots: [number of the block among those of the panel][panel][64 rows] fp32
//
// Sums lack the factor of the matrix and the bias. Padding rows hold finite numbers.
#pragma once

#include <cstdint>

#include "kernels/cuda/few_layout.h"
#include "kernels/cuda/operations.h"

namespace marlin::cuda {

inline constexpr int kMostSpans = 3;          // blocks that share a panel
inline constexpr int kMostChainCols = 16384;  // of the input of a product: its columns in fp16 take 32 KB
inline constexpr int kMostNormCols = 8192;    // of a norm: 16 warps keep two blocks of columns each in registers
inline constexpr int kMostGroupHeads = 8;     // query heads of a head of keys: columns of an mma
inline constexpr int kMostChainMatrices = 3;  // queries, keys, values
inline constexpr int kKeysOfSplit = 256;      // 16 warps take 16 keys each at once

// Division by a number that is known before: a multiplication and a shift. Exact for numbers below 2^30.
struct ChainDivisor {
  std::uint32_t factor = 1u << 30;
  int shift = 30;

  constexpr ChainDivisor() = default;
  explicit constexpr ChainDivisor(int divisor) {
    while (shift < 60 && (std::uint64_t{1} << (shift - 30)) < static_cast<std::uint64_t>(divisor)) ++shift;
    const auto by = static_cast<std::uint64_t>(divisor);
    factor = static_cast<std::uint32_t>(((std::uint64_t{1} << shift) + by - 1) / by);
  }
  constexpr int Divide(int number) const {
    return static_cast<int>(static_cast<std::uint64_t>(static_cast<std::uint32_t>(number)) * factor >> shift);
  }
};

// Which block has which items.
struct ChainDivision {
  int panels = 0, blocks = 0;  // blocks: of columns
  int workers = 1;             // the first blocks of the kernel
  ChainDivisor by_items, by_blocks, by_workers;

  constexpr ChainDivision() = default;
  constexpr ChainDivision(int own_panels, int own_blocks, int own_workers)
      : panels(own_panels),
        blocks(own_blocks),
        workers(own_workers),
        by_items(own_panels * own_blocks),
        by_blocks(own_blocks),
        by_workers(own_workers) {}

  constexpr int items() const { return panels * blocks; }
  // Worker w has the items Begin(w) to Begin(w + 1) - 1.
  constexpr int Begin(int worker) const { return by_workers.Divide(items() * worker); }
  constexpr int ItemsOf(int worker) const { return worker < workers ? Begin(worker + 1) - Begin(worker) : 0; }
  constexpr int OwnerOf(int item) const { return by_items.Divide((item + 1) * workers - 1); }
  constexpr int PanelOf(int item) const { return by_blocks.Divide(item); }
  constexpr int FirstOwner(int panel) const { return OwnerOf(panel * blocks); }
  // Blocks that share a panel.
  constexpr int SpansOf(int panel) const { return OwnerOf((panel + 1) * blocks - 1) - FirstOwner(panel) + 1; }
  constexpr int rows() const { return panels * static_cast<int>(kPanel); }
};

// Rows of a product in slots: number r is factor * (the sum of its slots) + bias[r].
struct ChainSums {
  const float* slots = nullptr;  // null: there is no product
  const float* bias = nullptr;   // or null
  float factor = 1;
  int first_panel = 0;  // of the product's
  ChainDivision division;
};

struct ChainMatrix {
  const std::uint8_t* records = nullptr;
  int panels = 0;
};

struct ChainProduct {
  ChainMatrix matrices[kMostChainMatrices];
  int count = 0;  // of matrices; their panels are those of the division, in order
  ChainDivision division;
  float* slots = nullptr;
};

// What a product multiplies. Rows are multiples of 16 bytes, columns multiples of 8.
struct ChainInput {
  enum class Kind : std::uint8_t {
    kNorm,   // the RMS norm of x + factor * added
    kPlain,  // x
    kGated,  // activation(added) * up
  };
  Kind kind = Kind::kPlain;
  Activation activation = Activation::kSilu;
  int cols = 0;
  const float* x = nullptr;
  ChainSums added, up;
  float factor = 1;
  float* new_x = nullptr;         // x + factor * added is kept here; null: it is not
  const float* weight = nullptr;  // of the norm; null: ones
  float eps = 0;
};

struct ChainAttention {
  AttentionShape shape;
  CacheView cache;  // fp16
  RopeTables of_queries, of_keys;
  ChainSums queries, keys, values;
  float* out = nullptr;        // [heads * head_dim]
  float* parts = nullptr;      // [split][head][head_dim], divided by exp(peak)
  float* peaks = nullptr;      // [split][head]
  float* part_sums = nullptr;  // [split][head]
};

struct alignas(16) ChainStep {
  enum class Kind : std::uint8_t {
    kProduct,  // of `input`
    kAttend,   // rope, cache and attention
    kCombine,  // the splits of the attention before become one
    kFinish,   // input.new_x = input.x + input.factor * input.added
  };
  Kind kind = Kind::kProduct;
  ChainInput input;
  ChainProduct product;
  ChainAttention attention;
};

// Blocks that divide the keys of a head. Beyond one the next step is kCombine.
struct ChainSplits {
  int start = 0;  // the first key that is seen
  int count = 1;
  int keys = 0;  // of one split, a multiple of 16

  constexpr ChainSplits(int position, std::size_t window, int heads, int blocks) {
    const bool all = window == 0 || window > static_cast<std::size_t>(position);
    start = all ? 0 : position + 1 - static_cast<int>(window);
    const int seen = position + 1 - start, most = blocks / heads > 1 ? blocks / heads : 1;
    count = (seen + kKeysOfSplit - 1) / kKeysOfSplit;
    if (count > most) count = most;
    keys = ((seen + count - 1) / count + 15) / 16 * 16;
  }
};

}  // namespace marlin::cuda
