// A model opened for work: its files, its description, and the promise that both are whole and understood. Every verb
// opens models here, so that all of them accept and refuse the same ones with the same sentences.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/result.h"
#include "files/checkpoint.h"
#include "model/description.h"

namespace marlin {

struct OpenedModel {
  Checkpoint checkpoint;  // tensors of the model alone; `left_out` names what else the files hold
  Description description;
};

// Whether this program runs a model with this config.json, as far as that is known without its weights; `path` names
// the model in messages. Settings that nobody knows are not judged, since a user may accept them. Errors: those with
// which OpenModel refuses a folder that has this configuration, whatever its weights are.
Status CheckConfig(std::string_view config_json, const std::filesystem::path& path);

// Reads no values but those of a tensor that must be a copy of another. A folder's configuration is judged before its
// weights are looked for. Errors: as OpenCheckpoint, CheckConfigKeys, DescribeModel and CheckTensors.
Result<OpenedModel> OpenModel(const std::filesystem::path& path, AcceptedNames accepted = {});

}  // namespace marlin
