// The text model inside a multimodal checkpoint.
#pragma once

#include "base/result.h"
#include "files/checkpoint.h"

namespace marlin {

// Makes a checkpoint whose configuration has a "text_config" one of the text model alone: its configuration, and its
// tensors under the names that they have without the rest. Other tensors, such as those of vision and audio towers, are
// left out. Other checkpoints stay as they are. Errors: kInput (a "text_config" that is no object, or that has no
// "model_type"), kUnsupported (a text model that this program does not know).
Status TakeTextModel(Checkpoint& checkpoint);

}  // namespace marlin
