// The tensors of a model before quantization: the 16-bit values of the original in fp32, rotated if requested. A
// rotation changes no output of the model:
//
//   heads     inside every head, the rows of the values and the columns of what attention gives are rotated by Q; for
//             every model.
//             Every model whose value heads are read by o alone, all of one size.
//   residual  the embedding, the rows of all that adds to the residual stream, and the columns of all that reads it
//   (the
//             head too), after the weights of the norms, which do not commute with Q, have moved into these columns and
//             become 1. A head that is the embedding cannot absorb the final norm's weight: then
//             only if that weight is constant.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "files/checkpoint.h"
#include "kernels/backend.h"
#include "model/description.h"
#include "model/weights.h"
#include "quantize/rotation.h"

namespace marlin {

class SourceTensors {
 public:
  // rotation_seed: not set = no rotation. Everything given outlives the source. Errors: those of Values; kUnsupported
  // (no rotation leaves this model as it is).
  static Result<SourceTensors> Create(const Checkpoint& checkpoint, const Description& description,
                                      std::optional<std::uint64_t> rotation_seed, ThreadPool& pool);

  const Checkpoint& checkpoint() const { return *checkpoint_; }
  const Description& description() const { return *description_; }
  bool rotated() const { return heads_rotated() || residual_rotated(); }
  bool heads_rotated() const { return heads_.has_value(); }
  bool residual_rotated() const { return residual_.has_value(); }
  // Why the residual stream of a rotated model is not.
  const std::string& why_not_residual() const { return why_not_residual_; }

  // [rows, cols], also of tensors that the configuration does not know (never changed). The same bits for every number
  // of threads. Errors: kInput (missing, a shape that is not the configuration's), kNumerical (NaN, infinity),
  // kUnsupported, kInterrupted.
  Result<std::vector<float>> Values(const std::string& name) const;
  // The same, in memory that `values` has where it is enough.
  Status ReadValues(const std::string& name, std::vector<float>& values) const;

  // The 16-bit format that a tensor is written in when it stays plain: the original's own, fp16 for rotated values
  // (bf16 where they exceed its range). Errors: those of Values.
  Result<const FormatRow*> PlainFormat(const std::string& name) const;
  // The tensor in it. Errors: those of Values.
  Result<EncodedMatrix> Plain(const std::string& name, const FormatRow& format) const;

  // For a walk through the blocks: matrices as Values gives them, vectors and the embedding as they are written.
  // Errors: those of Values, kResource.
  Result<LoadedParts> LoadBlock(Backend& backend, std::size_t index) const;
  // As LoadEmbedding of model/weights.h.
  Result<LoadedParts> LoadEmbedding(Backend& backend) const;

 private:
  enum class RotatedBy { kNone, kResidual, kHeads };
  // How a tensor is changed; a vector is one row.
  struct Place {
    std::size_t rows = 0;
    std::size_t cols = 0;
    RotatedBy rows_rotated_by = RotatedBy::kNone;
    RotatedBy cols_rotated_by = RotatedBy::kNone;
    std::string norm = {};  // moves into the columns when the residual stream is rotated
    bool is_moved = false;  // is such a norm: becomes 1
    float added = 0;        // Parts::AddedTo
  };
  SourceTensors(const Checkpoint& checkpoint, const Description& description, ThreadPool& pool);
  void ListPlaces();
  void ListMatrix(const Matrix& matrix, const Place& place);
  Status CreateRotations(std::uint64_t seed);
  Result<bool> IsFinalNormHarmless() const;
  const Orthogonal* Find(RotatedBy rotation) const;
  bool Changes(const Place& place) const;
  Status Read(const std::string& name, std::vector<float>& values) const;
  Result<std::unique_ptr<Buffer>> LoadVector(const std::string& name, float added, Backend& backend) const;

  const Checkpoint* checkpoint_;
  const Description* description_;
  ThreadPool* pool_;
  std::map<std::string, Place> places_;
  std::optional<Orthogonal> heads_, residual_;
  std::string why_not_residual_;
};

}  // namespace marlin
