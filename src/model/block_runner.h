// One block over many sequences of the same length, each from position 0. Between the blocks, the hidden states lie in
// the device's memory, where the caller keeps them. Everything is queued: the caller synchronizes. What else a later
// block reads of a sequence is kept here: what its tokens say of themselves, and keys and values that blocks share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/backend.h"
#include "model/block.h"
#include "model/description.h"
#include "model/weights.h"

namespace marlin {

// Sequences of so many tokens, of `sequences`, that the device is best given together.
std::size_t SequencesTogether(const Device& device, std::size_t tokens, std::size_t sequences);

// Whether Midway holds all that the parts of a block leave between them.
bool FitsMidway(const Block& block);

// A sequence in front of a block, or several that run together, one after the other: hidden has a multiple of `tokens`
// rows.
struct SequenceState {
  std::size_t index = 0;  // of the first sequence
  DeviceTensor hidden;    // [tokens, hidden_size], in and out
};

// The same inside a block. Each part of a block, named by its input, takes it on: those of inputs 0
// and 2 read `hidden` and leave the next input in `between`; those of inputs 1 and 3 read it and add to `hidden`.
struct Midway {
  std::size_t index = 0;  // of the first sequence
  DeviceTensor hidden;    // [tokens, hidden_size]
  DeviceTensor between;   // [tokens, k of the input]
};
// The input that lies in Midway::between before or after the part of `input`.
inline std::size_t BetweenOf(std::size_t input) { return input | 1; }

class BlockRunner {
 public:
  // Of `sequences`, at most `together` at once. Backend and description outlive the runner. Errors: kResource.
  static Result<BlockRunner> Create(const Description& description, Backend& backend, std::size_t tokens,
                                    std::size_t sequences = 1, std::size_t together = 1);
  static std::uint64_t Bytes(const Description& description, std::size_t tokens, std::size_t sequences);

  // Whether later blocks read keys and values of this one. After it ran on another state of a sequence than theirs, it
  // must run again before them.
  bool IsShared(std::size_t block) const { return places_[block].is_kept; }

  // state.hidden = the embedded tokens of one sequence; comes before the blocks. `around` holds what LoadEmbedding
  // loads.
  void Embed(const LoadedParts& around, std::span<const std::int32_t> tokens, const SequenceState& state);

  // `block` is one of the description.
  void Run(const LoadedBlock& block, const SequenceState& state, const InputObserver& observer = {});

  // Shows the input of one part without running it. The block fits Midway.
  void ShowInput(const LoadedBlock& block, std::size_t input, const Midway& at, const InputObserver& observer);
  // Runs one part; all in the order of the inputs give the bits of Run.
  void RunPart(const LoadedBlock& block, std::size_t input, const Midway& at);

  // Shows the same input of any block: runs it from its hidden state up to there, which stays as it is. For blocks
  // whose parts leave more between them than Midway holds.
  void RunToInput(const LoadedBlock& block, std::size_t input, const SequenceState& state,
                  const InputObserver& observer);

 private:
  // Where keys and values of a block are.
  struct CachePlace {
    bool is_kept = false;  // for each sequence; else only while the block runs
    std::size_t layer = 0;
  };
  static std::vector<CachePlace> PlacesOf(const Description& description, CacheShape& kept, CacheShape& passing);
  BlockState Load(const LoadedBlock& block, std::size_t sequence, const DeviceTensor& hidden);
  DeviceTensor Between(std::size_t input, const Midway& at) const;

  const Description* description_ = nullptr;
  Backend* backend_ = nullptr;
  std::size_t length_ = 0;  // tokens of a sequence
  BlockScratch scratch_;
  std::unique_ptr<Buffer> tokens_, hidden_;
  std::vector<CachePlace> places_;                     // of each block
  std::vector<std::unique_ptr<KvCache>> passing_;      // of each of those that run together
  std::vector<std::unique_ptr<KvCache>> kept_;         // of each sequence
  std::vector<std::unique_ptr<Buffer>> token_inputs_;  // of each sequence: [tokens, all TokenInputs]
};

}  // namespace marlin
