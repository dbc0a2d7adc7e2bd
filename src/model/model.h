// A model ready to run: description, weights, and the sessions that run them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/backend.h"
#include "model/block.h"
#include "model/description.h"
#include "model/weights.h"

namespace marlin {

// What makes logits of hidden states: softcap(scale * hidden * weight^T).
struct Head {
  const Weight* weight = nullptr;  // [vocab, hidden]
  float scale = 1;
  float softcap = 0;  // 0: none

  std::size_t vocab() const { return weight->rows(); }
  std::size_t hidden() const { return weight->cols(); }
};
Head HeadOf(const Description& description, const Weight& weight);

// Queues logits [m, vocab] of hidden [m, hidden].
void ComputeLogits(Backend& backend, const Head& head, const DeviceTensor& hidden, const DeviceTensor& logits);

struct Model {
  Description description;
  Weights weights;
  Backend* backend = nullptr;  // outlives the model

  const Weight& embedding() const { return *weights.around.matrices[description.embedding].weight; }
  const Weight& head() const { return *weights.around.matrices[description.head].weight; }
  LoadedBlock block(std::size_t index) const { return {description.blocks[index], weights.blocks[index]}; }
  // y = the final norm of x [m, hidden]; y may be x.
  void FinalNorm(const DeviceTensor& x, const DeviceTensor& y) const;
  // logits [m, vocab] of hidden [m, hidden], after the final norm
  void Logits(const DeviceTensor& hidden, const DeviceTensor& logits) const;
};

// rounded: as LoadWeights. Errors: as DescribeModel and LoadWeights.
Result<Model> LoadModel(const Checkpoint& checkpoint, Backend& backend, Precision precision = Precision::kSixteenBit,
                        const ProgressFn& progress = {}, const FormatMap& rounded = {});

// As InputObserver, with the block's index in front.
using ModelObserver = std::function<void(std::size_t block, std::size_t input, const DeviceTensor& x)>;

// One sequence, or some that go on together: their KV caches and the scratch memory of the forward pass. The model
// outlives it, and its weights stay the same objects.
class Session {
 public:
  // context: positions of a sequence; max_batch: most tokens of one in a Forward. Errors: kResource.
  static Result<Session> Create(const Model& model, std::size_t context, std::size_t max_batch,
                                std::size_t sequences = 1);

  // Queues `tokens` after what the cache holds. Gives their final hidden states (after the last norm) [tokens, hidden],
  // valid until the next call. The device's Synchronize tells whether they were computed. The caller keeps to the
  // limits: tokens.size() <= max_batch, position() + tokens.size() <= context, 0 <= token < vocab.
  DeviceTensor Forward(std::span<const std::int32_t> tokens, const ModelObserver& observer = {});

  // The same for the first `sequences` of the session, which are at the same position: as many tokens of each, one
  // sequence after the other. A sequence has the bits that it has alone.
  DeviceTensor ForwardTogether(std::span<const std::int32_t> tokens, std::size_t sequences,
                               const ModelObserver& observer = {});

  std::size_t position() const { return position_; }
  void Reset() { position_ = 0; }
  // The kernel that runs the steps of one token, but for the logits. Empty: they run operation by operation, or there
  // was none yet.
  std::string_view step_kernel() const { return step_ == nullptr ? std::string_view() : step_->kernel(); }
  void Rewind(std::size_t position);   // drops later positions; position <= position()
  std::size_t resident_bytes() const;  // cache and scratch

 private:
  const Model* model_ = nullptr;
  std::size_t context_ = 0;
  std::size_t max_batch_ = 0;
  std::size_t position_ = 0;
  std::vector<std::unique_ptr<KvCache>> caches_;  // of each sequence
  std::unique_ptr<Buffer> tokens_;                // int32 [sequences][max_batch]
  std::unique_ptr<Buffer> hidden_;                // [sequences][max_batch][hidden]
  BlockScratch scratch_;
  std::unique_ptr<Recording> step_;  // of one token of one sequence
};

// Bytes of cache and scratch for a session, known before it is made; a backend that caches in fp16 needs less.
std::size_t SessionBytes(const Description& description, std::size_t context, std::size_t max_batch);

// What each position of a session costs whose prompt is computed at once: with fp32 keys and values, n times the sum is
// SessionBytes(description, n, n).
struct PositionBytes {
  std::size_t cache = 0;  // keys and values
  std::size_t work = 0;
};
PositionBytes BytesOfPosition(const Description& description, bool half_cache);

}  // namespace marlin
