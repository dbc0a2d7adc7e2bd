// Which files of a repository make a model: the ones to download, and the ones that a cached copy has to hold.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "hub/hub_api.h"
#include "hub/hub_name.h"

namespace marlin {

// What describes a model that is no GGUF file.
inline constexpr const char* kConfigFile = "config.json";

struct ModelFiles {
  std::vector<RepoFile> files;  // by name
  std::string gguf;             // the file to open, the first part of a split; empty = open the folder
};

// Gives the text of model.safetensors.index.json.
using ReadIndex = std::function<Result<std::string>(const RepoFile& file)>;

// `files` are by name. Safetensors with configuration and tokenizer are preferred; a GGUF file is taken where name.file
// chooses it or where it is the only one and there are no safetensors. All parts of a split GGUF file are taken.
// Errors: kUsage (several GGUF files and no choice, or a choice that fits none or several: lists them), kInput (a shard
// or a part is missing, no configuration, no weights, those of `read` and ParseShardNames), kUnsupported (weights in
// other containers only). Each begins with the name of the repository.
Result<ModelFiles> ChooseModelFiles(const HubName& name, std::span<const RepoFile> files, const ReadIndex& read);

}  // namespace marlin
