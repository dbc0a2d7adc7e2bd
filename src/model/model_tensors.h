// The tensors of a model: which there must be, and which others a checkpoint may hold because they have no effect.
#pragma once

#include <string>

#include "base/result.h"
#include "files/checkpoint.h"
#include "model/description.h"

namespace marlin {

// Leaves out of the checkpoint what the model does not use, and checks the rest: every tensor of the model is there, in
// its shape, plain or quantized. Errors: kUnsupported (a tensor that the model does not use and that is not known to be
// harmless nor accepted), kInput (a tensor is missing or has another shape); each names file and tensor.
Status CheckTensors(Checkpoint& checkpoint, const Description& description);

// Whether two matrices hold the same numbers. Errors: those of reading, kInterrupted.
Result<bool> SameValues(const Tensor& a, const Tensor& b);

// A matrix, or a vector by its name, in the shape that the description wants. Errors: kInput (missing, another shape),
// those of FindWeight.
Result<StoredWeight> FindMatrix(const Checkpoint& checkpoint, const Matrix& wanted);
Result<const Tensor*> FindVector(const Checkpoint& checkpoint, const std::string& name, std::size_t size);

}  // namespace marlin
