// pull: downloads a model from the Hugging Face Hub into the cache that other programs share.

#include "hub/pull.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/verb.h"
#include "files/checkpoint.h"
#include "hub/hub_cache.h"
#include "model/open_model.h"

namespace marlin {
namespace {
using nlohmann::json;

struct PullArguments {
  std::string model;
  std::string gguf;
  bool dry_run = false;
};

Result<HubName> NameOf(const PullArguments& options) {
  auto name = ParseHubName(options.model);
  if (!name || options.gguf.empty()) return name;
  if (!name->file.empty()) {
    return Error{ErrorCode::kUsage, fmt::format("{} chooses a file already; leave out --gguf", options.model)};
  }
  return ParseHubName(options.model + ":" + options.gguf);
}

void PrintPlan(const PullPlan& plan, Console& console) {
  console.Result(plan.name.Text());
  console.Result(fmt::format("  commit       {}", plan.commit));
  console.Result(fmt::format("  destination  {}", plan.snapshot.string()));
  for (const PullPlan::File& file : plan.files) {
    std::string state = file.cached ? "  in the cache" : "";
    if (file.begun > 0) state = fmt::format("  {} of it are here", FormatBytes(static_cast<double>(file.begun)));
    console.Result(
        fmt::format("  {:<40} {:>10}{}", file.file.name, FormatBytes(static_cast<double>(file.file.size)), state));
  }
  console.Result(fmt::format("  {}, {}; {} to download", CountText(plan.files.size(), "file"),
                             FormatBytes(static_cast<double>(plan.bytes())),
                             FormatBytes(static_cast<double>(plan.missing_bytes()))));
}

json ToJson(const PullPlan& plan, const PullArguments& options) {
  json files = json::array();
  for (const PullPlan::File& file : plan.files) {
    files.push_back(
        {{"name", file.file.name}, {"bytes", file.file.size}, {"hash", file.file.hash}, {"cached", file.cached}});
  }
  return {{"model", plan.name.repository},
          {"revision", plan.name.RevisionOrMain()},
          {"commit", plan.commit},
          {"folder", plan.snapshot.string()},
          {"gguf", plan.model.gguf.empty() ? json(nullptr) : json(plan.model.gguf)},
          {"files", files},
          {"bytes", plan.bytes()},
          {"missing_bytes", plan.missing_bytes()},
          {"dry_run", options.dry_run}};
}

// Without the network, all that can be said is whether the model is there.
Status SayCached(const HubName& name, const HubSettings& settings, Console& console) {
  const auto found = FindCachedModel(settings.cache, name);
  if (!found) {
    return Error{found.error().code, fmt::format("{} ({} is set, so nothing was asked; unset it first)",
                                                 found.error().message, settings.offline)};
  }
  console.Result(fmt::format("{} is in the cache: {} ({} is set, so the Hub was not asked for a newer one)",
                             name.Text(), found->path().string(), settings.offline));
  console.Data({{"model", name.repository},
                {"revision", name.RevisionOrMain()},
                {"commit", found->commit},
                {"folder", found->snapshot.string()},
                {"offline", true}});
  return {};
}

// What every command would refuse is refused before its weights are downloaded. A GGUF file has its configuration
// inside.
Status CheckRuns(const PullPlan& plan, const PullTools& tools) {
  const auto config = FetchConfig(plan, tools, kMaxConfigBytes);
  if (!config) return config.error();
  if (!*config) return {};
  const Status status = CheckConfig(**config, plan.name.Text());
  if (status) return {};
  return Error{status.error().code, status.error().message + "; nothing was downloaded"};
}

Status RunPull(const PullArguments& options, Invocation& invocation) {
  Console& console = invocation.console;
  const auto name = NameOf(options);
  if (!name) return name.error();
  auto settings = ReadHubSettings();
  if (!settings) return settings.error();
  if (!settings->offline.empty()) return SayCached(*name, *settings, console);
  PullTools tools;
  tools.settings = std::move(*settings);
  tools.progress = console.progress();
  tools.say = [&](const std::string& text) { console.Warn(text); };
  const auto plan = PlanPull(*name, tools);
  if (!plan) return plan.error();
  if (auto status = CheckRuns(*plan, tools); !status) return status;
  PrintPlan(*plan, console);
  if (!options.dry_run) {
    Status status = Pull(*plan, tools);
    if (!status && status.error().code == ErrorCode::kInterrupted) {
      return Error{ErrorCode::kInterrupted, "interrupted; the same command continues where this one stopped"};
    }
    if (!status) return status;
    console.Say(fmt::format("done; next: metal-marlin inspect {}", QuoteForShell(name->Text())));
  }
  console.Data(ToJson(*plan, options));
  return {};
}

}  // namespace

void RegisterPull(Verb parent) {
  auto options = std::make_shared<PullArguments>();
  Verb verb = parent.AddVerb("pull", "Download a model from the Hugging Face Hub into the cache",
                             "metal-marlin pull HuggingFaceTB/SmolLM2-135M\n"
                             "  metal-marlin pull HuggingFaceTB/SmolLM2-135M-Instruct-GGUF:Q4_K_M\n"
                             "Then ORG/MODEL names the model in every command. Variables: HF_TOKEN, HF_ENDPOINT, "
                             "HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE");
  verb.Add("model", options->model, "ORG/MODEL, ORG/MODEL@REVISION, or ORG/MODEL:FILE as with --gguf").Required();
  verb.Add("--gguf", options->gguf,
           "The GGUF file to take, by its name or quantization, such as Q4_K_M; all parts of a split file are taken");
  verb.AddFlag("--dry-run", options->dry_run, "Print commit, files, sizes and destination; download nothing");
  verb.Runs([options](Invocation& invocation) { return RunPull(*options, invocation); });
}

}  // namespace marlin
