// Weights of a model, checked against its description and packed for a backend.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "files/checkpoint.h"
#include "kernels/backend.h"
#include "model/description.h"

namespace marlin {

enum class Precision {
  kSixteenBit,  // every plain tensor rounded to 16 bits, as it would be published: the baseline of every comparison
  kSource       // plain tensors as exact as their source (fp32 for F32 and for block types)
};

// The format that a plain tensor is kept in, and the tensor in it. Precision::kSixteenBit: BF16 and F16 stay;
// everything else becomes BF16 when that is exact or when a value exceeds fp16's range, else FP16. Errors: kNumerical
// (NaN or infinity, naming tensor and place), kUnsupported (integers), kInterrupted.
Result<const FormatRow*> ChoosePlainFormat(const Tensor& tensor, Precision precision, ThreadPool& pool);
Result<EncodedMatrix> EncodePlain(const Tensor& tensor, Precision precision, ThreadPool& pool);
// In the format that ChoosePlainFormat gave; the values are not looked at again.
Result<EncodedMatrix> EncodePlainAs(const Tensor& tensor, const FormatRow& format, ThreadPool& pool);
// The numbers of EncodePlain's matrix, row by row. `values` gets their size; memory that it has is used again.
Status ReadPlain(const Tensor& tensor, Precision precision, ThreadPool& pool, std::vector<float>& values);

// A norm or a bias, stored as a matrix of one row, as fp32 on the device: [1, cols], with `added` to each element
// (Parts::AddedTo). Errors: kResource.
Result<std::unique_ptr<Buffer>> UploadVector(const EncodedMatrixView& vector, float added, Backend& backend);

// Format of each stem; a stem that is missing stays in 16 bits.
using FormatMap = std::map<std::string, const FormatRow*>;

struct Linear {
  std::unique_ptr<Weight> weight;
  std::unique_ptr<Buffer> bias;  // null when there is none
};

// The matrices and vectors of some Parts, by the same indexes.
struct LoadedParts {
  std::vector<Linear> matrices;
  std::vector<std::unique_ptr<Buffer>> vectors;
  float scalar = 1;  // Block::scalar

  std::size_t resident_bytes() const;
};

struct Weights {
  LoadedParts around;  // embedding, final norm, head
  std::vector<LoadedParts> blocks;

  std::size_t resident_bytes() const;
};

// Reads LoadedParts::scalar from the vector of the block. Errors: those of the device.
Status ReadScalar(const Block& block, Backend& backend, LoadedParts& loaded);

// Indexes of the matrices and vectors around the blocks that embed tokens.
struct EmbeddingParts {
  std::vector<std::size_t> matrices, vectors;
};
EmbeddingParts EmbeddingPartsOf(const Description& description);

// Plain matrices that `rounded` names are rounded to nearest into its formats, from what `precision` makes of them: the
// codes of quantize --method rtn. A device that lacks the memory is given nothing (device_memory.h). Errors: kInput
// (missing tensor, wrong shape, a matrix to be rounded that is quantized already: names file, tensor, got, want),
// kNumerical (NaN), kResource, kUnsupported, kInterrupted.
Result<Weights> LoadWeights(const Checkpoint& checkpoint, const Description& description, Backend& backend,
                            Precision precision, const ProgressFn& progress, const FormatMap& rounded = {});

// A part of the same: one matrix, such as the head, or a block. Errors: as LoadWeights.
Result<std::unique_ptr<Weight>> LoadMatrix(const Checkpoint& checkpoint, const Matrix& matrix, Backend& backend,
                                           Precision precision);
// What embeds tokens, of the parts around the blocks; the others are not there.
Result<LoadedParts> LoadEmbedding(const Checkpoint& checkpoint, const Description& description, Backend& backend,
                                  Precision precision);
Result<LoadedParts> LoadBlock(const Checkpoint& checkpoint, const Description& description, Backend& backend,
                              Precision precision, std::size_t index);

}  // namespace marlin
