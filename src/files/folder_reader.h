// Reads folders in the layouts of compressed-tensors and MLX (folder_layout.h): their tensors become those of
// quantized_layout.h.
#pragma once

#include "base/result.h"

namespace marlin {

struct Checkpoint;

// Where the bytes differ, the new ones are kept in Checkpoint::made; codes of 4 bits stay where they are. Does nothing
// to other folders. Errors: kInput (tensors missing, of other types or shapes, settings of MLX that are not those of
// the plan: names tensor, got, want), kUnsupported (numbers that no scale and zero point of the format give).
Status TranslateFolder(Checkpoint& checkpoint);

}  // namespace marlin
