// The tensors of a model: which there must be, and which others a checkpoint may hold because they have no effect.
#pragma once

#include "base/result.h"
#include "io/checkpoint.h"
#include "model/description.h"

namespace marlin {

// Leaves out of the checkpoint what the model does not use, and checks the rest: every tensor of the model is there, in
// its shape, plain or quantized. Errors: kUnsupported (a tensor that the model does not use and that is not known to be
// harmless nor accepted), kInput (a tensor is missing or has another shape); each names file and tensor.
Status CheckTensors(Checkpoint& checkpoint, const Description& description);

}  // namespace marlin
