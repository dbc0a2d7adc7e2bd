// A model opened for work: its files, its description, and the promise that both are whole and understood. Every verb
// opens models here, so that all of them accept and refuse the same ones with the same sentences.
#pragma once

#include <filesystem>

#include "base/result.h"
#include "files/checkpoint.h"
#include "model/description.h"

namespace marlin {

struct OpenedModel {
  Checkpoint checkpoint;  // tensors of the model alone; `left_out` names what else the files hold
  Description description;
};

// Reads no values but those of a tensor that must be a copy of another. Errors: as OpenCheckpoint, CheckConfigKeys,
// DescribeModel and CheckTensors.
Result<OpenedModel> OpenModel(const std::filesystem::path& path, AcceptedNames accepted = {});

}  // namespace marlin
