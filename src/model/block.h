// One block: mixer and feed-forward part with their norms and residual connections. Sessions run all blocks in order.
// Calibration and sequential quantization run one block at a time over many sequences.
//
// A block that this program runs has attention and a gated feed-forward part, and so four inputs: the normed hidden
// state and what attention gives, the normed hidden state and what the activation gives. Inputs 0 and 2 are computed
// from the hidden state; the matrices of inputs 1 and 3 add to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/matrix.h"
#include "base/result.h"
#include "kernels/backend.h"
#include "model/description.h"
#include "model/weights.h"

namespace marlin {

// Errors: kUnsupported (a part or a setting of the model that this program does not compute).
Status CheckRunnable(const Description& description);

// Called with an input of the block before its matrices run: its index in Block::inputs, and x [m, k] on the device,
// which is valid during the call.
using InputObserver = std::function<void(std::size_t input, const DeviceTensor& x)>;

// What a batch of tokens may have.
struct BatchLimits {
  std::size_t context = 0;  // positions of a sequence
  std::size_t tokens = 0;   // of all sequences together
};

// What blocks need beside their weights.
struct BlockScratch {
  std::unique_ptr<Buffer> normed, q, k, v, attention, gate, up, projected;
  std::unique_ptr<Buffer> cos, sin;   // [context, head_dim / 2]: the angles of every position
  std::unique_ptr<Buffer> positions;  // int32, of each token

  // Errors: kResource.
  static Result<BlockScratch> Create(const Description& description, Backend& backend, const BatchLimits& limits);
  static std::size_t Bytes(const Description& description, const BatchLimits& limits);

  // m tokens from `position` on, for each of some sequences; once for all blocks of a forward pass.
  void SetPositions(Backend& backend, std::size_t position, std::size_t m, std::size_t sequences = 1);
};

// A block and its weights.
struct LoadedBlock {
  const Block& block;
  const LoadedParts& parts;
};

// hidden [sequences * m, hidden], one sequence after the other, is replaced by the block's output. Each sequence has a
// cache, which holds the positions before those of the scratch in its layer `cache_layer`; the m tokens are added.
struct BlockState {
  DeviceTensor hidden;
  std::span<const std::unique_ptr<KvCache>> caches;
  std::size_t cache_layer = 0;
};

// Queues the operations of a block.
void RunBlock(Backend& backend, const LoadedBlock& block, const BlockScratch& scratch, const BlockState& state,
              const InputObserver& observer = {});

// Channels of the widest input that is not the hidden state.
std::size_t WidestBetween(const Description& description);

// Whether Midway holds all that the parts of a block leave between them.
bool FitsMidway(const Block& block);

// A sequence inside a block, in host memory. Each part of a block, named by its input, takes it on: those of inputs 0
// and 2 read `hidden` and leave the next input in `between`; those of inputs 1 and 3 read it and add to `hidden`.
struct Midway {
  MatrixView<float> hidden;   // [tokens, hidden_size]
  MatrixView<float> between;  // [tokens, k of the input]
};
// The input that lies in Midway::between before or after the part of `input`.
inline std::size_t BetweenOf(std::size_t input) { return input | 1; }

// One block over sequences of the same length, each from position 0.
class BlockRunner {
 public:
  // Backend and description outlive the runner. Errors: kResource.
  static Result<BlockRunner> Create(const Description& description, Backend& backend, std::size_t tokens);

  // hidden [tokens, hidden_size] in host memory = the rows of the table. Errors: those of the device.
  Status Embed(const Weight& table, std::span<const std::int32_t> tokens, MatrixView<float> hidden);

  // hidden [tokens, hidden_size] in host memory, in and out. Errors, here and below: those of the device.
  Status Run(const LoadedBlock& block, MatrixView<float> hidden, const InputObserver& observer = {});

  // Shows the input of one part without running it.
  Status ShowInput(const LoadedBlock& block, std::size_t input, const Midway& at, const InputObserver& observer);
  // Runs one part; all in the order of the inputs give the bits of Run.
  Status RunPart(const LoadedBlock& block, std::size_t input, const Midway& at);

  // Shows the same input of any block: runs it from its hidden state up to there. For blocks whose parts leave more
  // between them than Midway holds.
  Status RunToInput(const LoadedBlock& block, std::size_t input, MatrixView<const float> hidden,
                    const InputObserver& observer);

 private:
  BlockState State(std::size_t tokens) const;
  void Load(std::size_t input, const Midway& at);
  DeviceTensor Between(std::size_t input, const Midway& at) const;
  const Description* description_ = nullptr;
  Backend* backend_ = nullptr;
  BlockScratch scratch_;
  std::unique_ptr<Buffer> tokens_, hidden_;
  std::unique_ptr<KvCache> cache_;  // of one block
};

}  // namespace marlin
