// Device memory that the blocks of a model share while they run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "kernels/backend.h"
#include "model/description.h"
#include "model/rope_tables.h"

namespace marlin {

// What a batch of tokens may have.
struct BatchLimits {
  std::size_t context = 0;  // positions of a sequence
  std::size_t tokens = 0;   // of all sequences together
};

struct BlockScratch {
  std::unique_ptr<Buffer> normed, q, k, v, attention, gate, up, projected;
  std::unique_ptr<Buffer> held;          // what the mixer adds, while the feed-forward part reads the same hidden state
  std::unique_ptr<Buffer> token_inputs;  // [tokens, all TokenInputs]: what the tokens say of themselves to the blocks
  std::unique_ptr<Buffer> projections;   // of the same size
  std::unique_ptr<Buffer> positions;     // int32, of each token
  std::vector<RopeTable> ropes;          // as Description::ropes

  // Errors: kResource.
  static Result<BlockScratch> Create(const Description& description, Backend& backend, const BatchLimits& limits);
  static std::size_t Bytes(const Description& description, const BatchLimits& limits);

  // m tokens from `position` on, for each of some sequences; once for all blocks of a forward pass.
  void SetPositions(Backend& backend, std::size_t position, std::size_t m, std::size_t sequences = 1);
};

// Keys and values of a cache, as fp32 numbers.
std::uint64_t CacheFloats(const CacheShape& shape);

// Channels of the widest input that is neither the hidden state nor what a token says of itself.
std::size_t WidestBetween(const Description& description);

}  // namespace marlin
