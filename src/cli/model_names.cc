#include "cli/model_names.h"

#include <fmt/format.h>

#include "base/open_file.h"
#include "hub/hub_name.h"
#include "hub/hub_settings.h"

namespace marlin {
namespace {

// What ends so was meant as a path.
bool HasFileEnding(const std::string& repository) {
  return repository.ends_with(".gguf") || repository.ends_with(".safetensors") || repository.ends_with(".json");
}

Result<NamedModel> FindCached(const HubName& name) {
  const auto cache = HubCacheFolder();
  if (!cache) return cache.error();
  auto found = FindCachedModel(*cache, name);
  if (!found) return found.error();
  NamedModel model{found->path()};
  if (name.file.empty() && !found->files.gguf.empty()) {
    model.note = fmt::format("{} means {}, the only model of it in the cache", name.Text(), found->files.gguf);
  }
  model.cached = std::move(*found);
  return model;
}

}  // namespace

Result<NamedModel> FindModel(const std::string& word) {
  const auto kind = KindOf(word);
  const bool is_path = !kind || *kind != PathKind::kNothing;
  const auto name = ParseHubName(word);
  if (!name || HasFileEnding(name->repository)) return NamedModel{word};
  auto cached = FindCached(*name);
  if (!is_path) {
    if (cached) return cached;
    return Error{cached.error().code, fmt::format("{}: no such file or folder here; {}", word, cached.error().message)};
  }
  NamedModel model{word};
  if (cached) {
    model.note =
        fmt::format("{} is a path here and a model in the Hugging Face cache: the path is used; {} is the other", word,
                    cached->path.string());
  }
  return model;
}

}  // namespace marlin
