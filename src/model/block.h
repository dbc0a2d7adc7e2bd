// One block: mixer and feed-forward part with their norms and residual connections. Sessions run all blocks in order.
// Calibration and sequential quantization run one block at a time over many sequences (block_runner.h).
//
// A block that this program runs has attention and a feed-forward part, and so four inputs: the hidden state, mostly
// normed, and what attention gives; the same hidden state or the one after attention, and what the activation gives.
// The matrices of inputs 1 and 3 add to the hidden state. What a token says of itself takes two more: input 4 is the
// hidden state, and the matrix of input 5 adds to it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/result.h"
#include "kernels/backend.h"
#include "model/block_scratch.h"
#include "model/description.h"
#include "model/weights.h"

namespace marlin {

// Called with an input of the block before its matrices run: its index in Block::inputs, and x [m, k] on the device,
// which is valid during the call.
using InputObserver = std::function<void(std::size_t input, const DeviceTensor& x)>;

// A block and its weights.
struct LoadedBlock {
  const Block& block;
  const LoadedParts& parts;
};

// hidden [sequences * m, hidden], one sequence after the other, is replaced by the block's output. Each sequence has a
// cache, which holds the positions before those of the scratch in its layer `cache_layer`; a block with keys adds those
// of the m tokens.
struct BlockState {
  DeviceTensor hidden;
  std::span<const std::unique_ptr<KvCache>> caches;
  std::size_t cache_layer = 0;
  DeviceTensor token_input = {};  // [sequences * m, width of the block's TokenInput]
};

// Columns of BlockScratch::token_inputs that are a block's.
DeviceTensor TokenInputOf(const Description& description, const BlockScratch& scratch, std::size_t block,
                          std::size_t tokens);

// Queues the operations of a block.
void RunBlock(Backend& backend, const LoadedBlock& block, const BlockScratch& scratch, const BlockState& state,
              const InputObserver& observer = {});

// The parts of a block one by one; each is named by its input. All in order are RunBlock.
class BlockParts {
 public:
  // Everything given outlives the parts.
  BlockParts(Backend& backend, const LoadedBlock& block, const BlockScratch& scratch, const BlockState& state);

  // What the part multiplies: [m, k]. Queues what computes it, if it is not there yet.
  DeviceTensor Input(std::size_t input) const;
  void Run(std::size_t input) const;

 private:
  // The matrices of an input.
  struct Factors {
    static constexpr std::size_t kMost = 3;  // queries, keys, values
    std::array<const Weight*, kMost> weight = {};
    std::array<DeviceTensor, kMost> bias;
    std::size_t count = 0;
    std::span<const Weight* const> weights() const { return {weight.data(), count}; }
    std::span<const DeviceTensor> biases() const { return {bias.data(), count}; }
  };

  Factors FactorsOf(std::size_t input) const;
  std::size_t ColsOf(std::size_t input) const { return block_.matrices[block_.inputs[input].matrices[0]].cols; }
  std::optional<std::size_t> NormOf(std::size_t input) const;
  NormArgs NormOfHidden(std::size_t norm) const;
  void Multiply(std::size_t input, std::initializer_list<DeviceTensor> outs) const;
  void NormHeads(std::size_t norm, const DeviceTensor& x, const DeviceTensor& y) const;
  void MakeKeysAndValues(const DeviceTensor& k, const DeviceTensor& v) const;
  void Attend() const;
  void Gate() const;
  void GateToken() const;
  void Project(std::size_t input) const;
  void AddTo(const DeviceTensor& projected, std::optional<std::size_t> norm) const;

  Backend& backend_;
  const Block& block_;
  const LoadedParts& loaded_;
  const BlockScratch& scratch_;
  const BlockState& state_;
  const Attention& attention_;
  const FeedForward& feed_forward_;
  std::size_t m_;
};

}  // namespace marlin
