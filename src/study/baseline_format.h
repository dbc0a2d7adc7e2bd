// The type of weights that a baseline multiplies.
#pragma once

#include "base/result.h"
#include "base/thread_pool.h"
#include "files/checkpoint.h"
#include "formats/format.h"

namespace marlin {

// The format that most weights of the first layer have once the model is loaded in 16 bits. The name of the source's
// type does not tell: F32 becomes BF16 where that is exact, else FP16. Errors: as LoadWeights.
Result<const FormatRow*> BaselineFormat(const Checkpoint& checkpoint, ThreadPool& pool);

}  // namespace marlin
