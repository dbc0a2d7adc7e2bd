// Downloads a model from the Hugging Face Hub into the cache: only the files that make the model, each checked by its
// hash before it becomes visible. The snapshot appears when all of them are there.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "hub/hub_api.h"
#include "hub/hub_name.h"
#include "hub/hub_settings.h"
#include "hub/model_files.h"

namespace marlin {

struct PullTools {
  HubSettings settings;
  ProgressFn progress;
  std::function<void(const std::string&)> say;  // told of waits and of attempts that are repeated; may be empty
  std::chrono::milliseconds first_pause{1000};  // before a failed request is repeated
};

// What a pull would do.
struct PullPlan {
  struct File {
    RepoFile file;
    bool cached = false;      // all of it is there
    std::uint64_t begun = 0;  // bytes that an interrupted download left
  };
  HubName name;
  std::string commit;
  std::filesystem::path snapshot;  // where the files will be
  ModelFiles model;
  std::vector<File> files;  // by name

  std::uint64_t bytes() const;
  std::uint64_t missing_bytes() const;
};

// Asks the Hub for the newest commit of the revision and its files; writes nothing. Errors: kInput (no such repository
// or revision, no access: says what to do; the network; an answer that is not what the Hub promises), those of
// ChooseModelFiles, kInterrupted.
Result<PullPlan> PlanPull(const HubName& name, const PullTools& tools);

// The text of the model's config.json, so that it can be judged before its weights are downloaded; nothing where a GGUF
// file was chosen. Writes nothing. Errors: kInput (more than max_bytes; the network), kInterrupted.
Result<std::optional<std::string>> FetchConfig(const PullPlan& plan, const PullTools& tools, std::size_t max_bytes);

// Downloads what is missing. Two processes never download the same file: one waits for the other. Errors: kResource
// (too little room on the disk: says how much there is and how much is needed), kCorrupt (a file does not have the hash
// that the Hub promised; it is deleted), kInput, kInterrupted (the next pull continues).
Status Pull(const PullPlan& plan, const PullTools& tools);

}  // namespace marlin
