// Tensors of files that hold several matrices, or a transposed one, become one tensor for each matrix.
#pragma once

#include "base/result.h"
#include "files/checkpoint.h"
#include "model/description.h"

namespace marlin {

// Replaces the stored tensors of Description::splits by their parts, which point into the same bytes; of a quantized
// matrix, into Checkpoint::made. Parts that the checkpoint has already, plain or quantized, stay. Errors: kInput
// (missing, another shape), kUnsupported (a transposed tensor of a block type); each names file and tensor.
Status SplitTensors(Checkpoint& checkpoint, const Description& description);

}  // namespace marlin
