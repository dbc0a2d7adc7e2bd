// What a word that names a model means: a path, or a model of the Hugging Face Hub that is in the cache on this
// machine.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"
#include "hub/hub_cache.h"

namespace marlin {

// For --help, wherever a model is named.
inline constexpr const char* kModelWords = "Hugging Face folder, GGUF file, or ORG/MODEL in the cache (see pull)";
inline constexpr const char* kAnyModelWords =
    "Hugging Face folder, GGUF file, folder made by quantize, or ORG/MODEL in the cache (see pull)";

struct NamedModel {
  std::filesystem::path path;
  std::optional<CachedModel> cached{};  // where the word is the name of a model in the cache
  std::string note{};                   // what the user should know about the choice; may be empty
};

// A path that exists is taken before a name. Asks no network. Errors: kInput (a name that is not in the cache, or not
// all of it), kUsage (a choice among GGUF files is missing). A word that is neither a path nor a name is returned as it
// is; opening it says so.
Result<NamedModel> FindModel(const std::string& word);

}  // namespace marlin
