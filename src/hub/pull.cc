#include "hub/pull.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <system_error>

#include "base/file.h"
#include "hub/download.h"
#include "hub/hub_cache.h"
#include "hub/response_head.h"

namespace marlin {
namespace fs = std::filesystem;
namespace {

fs::path IncompleteBlob(const CachedRepository& repository, const RepoFile& file) {
  return repository.Blob(file.hash).string() + ".incomplete";
}

std::string EscapeComponent(const std::string& text) {
  std::string out = EscapePath(text);
  for (std::size_t at = out.find('/'); at != std::string::npos; at = out.find('/', at)) out.replace(at, 1, "%2F");
  return out;
}

// Why the Hub refuses, and what to do about it. `wanted` is a file or empty. The Hub answers 401 for what does not
// exist too, where nobody is logged in.
std::string ExplainRefusal(const Refusal& refusal, const HubName& name, const std::string& wanted,
                           const HubSettings& settings) {
  if (refusal.host != HostOf(settings.endpoint)) return "";
  const std::string page = fmt::format("{}/{}", settings.endpoint, name.repository);
  const bool gated = refusal.error_code == "GatedRepo";
  switch (refusal.status) {
    case 401:
    case 403:
      if (gated) {
        return fmt::format(
            "{} is gated (HTTP {}): accept its terms at {} and set HF_TOKEN to a token of that account{}",
            name.repository, refusal.status, page, settings.token.empty() ? "" : "; the present token has no access");
      }
      if (settings.token.empty()) {
        return fmt::format(
            "{} does not exist, or is private or gated (HTTP {}): check the name; for a private or gated "
            "model set HF_TOKEN to a token that may read it, and accept its terms at {}",
            name.repository, refusal.status, page);
      }
      return fmt::format(
          "the token in HF_TOKEN or the login file may not read {}, or the model does not exist (HTTP "
          "{}): check the name and the token; a gated model needs its terms accepted at {}",
          name.repository, refusal.status, page);
    case 404:
    case 410:
      if (!wanted.empty()) return fmt::format("{} has no file {} (HTTP {})", name.Text(), wanted, refusal.status);
      if (refusal.error_code == "RevisionNotFound") {
        return fmt::format("{} has no revision {} (HTTP {}): name a branch, a tag or a commit of {}", name.repository,
                           name.RevisionOrMain(), refusal.status, page);
      }
      return fmt::format("there is no model {} at {} (HTTP {}): check the name", name.repository, settings.endpoint,
                         refusal.status);
    default:
      return "";
  }
}

// What all requests to the Hub share.
Download RequestOf(const HubName& name, const PullTools& tools, const std::string& wanted) {
  Download request;
  if (!tools.settings.token.empty()) request.authorization = "Bearer " + tools.settings.token;
  request.explain = [name, wanted, settings = tools.settings](const Refusal& refusal) {
    return ExplainRefusal(refusal, name, wanted, settings);
  };
  request.say = tools.say;
  request.first_pause = tools.first_pause;
  return request;
}

std::string FileUrl(const HubSettings& settings, const HubName& name, const std::string& commit, const RepoFile& file) {
  return fmt::format("{}/{}/resolve/{}/{}", settings.endpoint, name.repository, commit, EscapePath(file.name));
}

// The text of a small file that is needed before anything may be written.
Result<std::string> ReadBefore(const HubName& name, const std::string& commit, const RepoFile& file,
                               std::size_t max_bytes, const PullTools& tools) {
  const CachedRepository repository(tools.settings.cache, name.repository);
  if (repository.Holds(file, commit)) {
    for (const fs::path& path : {repository.Blob(file.hash), repository.Snapshot(commit) / file.name}) {
      if (auto text = ReadFile(path, max_bytes)) return text;
    }
  }
  Download request = RequestOf(name, tools, file.name);
  request.url = FileUrl(tools.settings, name, commit, file);
  request.bytes = file.size;
  request.max_bytes = max_bytes;
  if (file.size > max_bytes) {
    return Error{ErrorCode::kInput,
                 fmt::format("{}: {} has {} bytes, want at most {}", name.repository, file.name, file.size, max_bytes)};
  }
  return FetchText(request);
}

// Errors: kResource when the disk has no room for what is missing.
Status CheckRoom(const PullPlan& plan, const fs::path& cache) {
  std::error_code code;
  fs::path there = cache;
  while (!fs::exists(there, code) && there.has_parent_path() && there != there.parent_path())
    there = there.parent_path();
  struct statvfs room {};
  if (::statvfs(there.c_str(), &room) != 0) return {};  // the download itself will say it
  const std::uint64_t have = std::uint64_t{room.f_bavail} * room.f_frsize;
  const std::uint64_t need = plan.missing_bytes();
  if (need <= have) return {};
  return Error{
      ErrorCode::kResource,
      fmt::format("{} needs {} more bytes in {}, {} are free; free some space, or name a cache on another disk "
                  "with HF_HUB_CACHE",
                  plan.name.Text(), need, cache.string(), have)};
}

Status PullFile(const PullPlan& plan, std::size_t index, const CachedRepository& repository, const PullTools& tools) {
  const RepoFile& file = plan.files[index].file;
  if (repository.Holds(file, plan.commit)) return {};
  const auto lock = BlobLock::Take(repository, file, tools.say);
  if (!lock) return lock.error();
  if (repository.Holds(file, plan.commit)) return {};  // the other process has brought it
  Download request = RequestOf(plan.name, tools, file.name);
  request.url = FileUrl(tools.settings, plan.name, plan.commit, file);
  request.target = repository.Blob(file.hash);
  request.partial = IncompleteBlob(repository, file);
  request.origin = "blob " + file.hash;
  request.bytes = file.size;
  request.max_bytes = std::max<std::uint64_t>(file.size, 1);
  request.stage = fmt::format("pull {} ({} of {})", file.name, index + 1, plan.files.size());
  request.check = [&](const fs::path& path) -> Status {
    Status status = CheckHash(path, file.hash, file.name, tools.progress);
    if (status || status.error().code != ErrorCode::kCorrupt) return status;
    return Error{ErrorCode::kCorrupt,
                 fmt::format("{}: {}; it was damaged on its way or at {}, and is deleted; pull it again",
                             plan.name.Text(), status.error().message, tools.settings.endpoint)};
  };
  return Fetch(request, tools.progress);
}

}  // namespace

std::uint64_t PullPlan::bytes() const {
  std::uint64_t sum = 0;
  for (const File& file : files) sum += file.file.size;
  return sum;
}

std::uint64_t PullPlan::missing_bytes() const {
  std::uint64_t sum = 0;
  for (const File& file : files) sum += file.cached ? 0 : file.file.size - std::min(file.file.size, file.begun);
  return sum;
}

Result<PullPlan> PlanPull(const HubName& name, const PullTools& tools) {
  Download request = RequestOf(name, tools, "");
  request.url = fmt::format("{}/api/models/{}/revision/{}?blobs=true", tools.settings.endpoint, name.repository,
                            EscapeComponent(name.RevisionOrMain()));
  request.max_bytes = kMaxRepoInfo;
  const auto answer = FetchText(request);
  if (!answer) return answer.error();
  auto info = ParseRepoInfo(*answer, fmt::format("the answer of {} about {}", tools.settings.endpoint, name.Text()));
  if (!info) return info.error();
  if (IsCommit(name.revision) && info->commit != name.revision) {
    return Error{ErrorCode::kInput,
                 fmt::format("{} gives commit {} for {}", tools.settings.endpoint, info->commit, name.Text())};
  }
  const ReadIndex read = [&](const RepoFile& file) {
    return ReadBefore(name, info->commit, file, kMaxShardIndex, tools);
  };
  auto chosen = ChooseModelFiles(name, info->files, read);
  if (!chosen) return chosen.error();
  const CachedRepository repository(tools.settings.cache, name.repository);
  PullPlan plan;
  plan.name = name;
  plan.commit = info->commit;
  plan.snapshot = repository.Snapshot(info->commit);
  plan.model = std::move(*chosen);
  for (const RepoFile& file : plan.model.files) {
    PullPlan::File planned{file, repository.Holds(file, info->commit), 0};
    std::error_code code;
    const std::uintmax_t begun = fs::file_size(IncompleteBlob(repository, file), code);
    if (!code && !planned.cached) planned.begun = begun;
    plan.files.push_back(std::move(planned));
  }
  return plan;
}

Result<std::optional<std::string>> FetchConfig(const PullPlan& plan, const PullTools& tools, std::size_t max_bytes) {
  const auto file = std::ranges::find(plan.model.files, kConfigFile, &RepoFile::name);
  if (file == plan.model.files.end()) return std::optional<std::string>();
  auto text = ReadBefore(plan.name, plan.commit, *file, max_bytes, tools);
  if (!text) return text.error();
  return std::optional(std::move(*text));
}

Status Pull(const PullPlan& plan, const PullTools& tools) {
  if (auto status = CheckRoom(plan, tools.settings.cache); !status) return status;
  const CachedRepository repository(tools.settings.cache, plan.name.repository);
  for (std::size_t i = 0; i < plan.files.size(); ++i) {
    if (auto status = PullFile(plan, i, repository, tools); !status) return status;
  }
  for (const PullPlan::File& file : plan.files) {
    if (auto status = repository.Link(file.file, plan.commit); !status) return status;
  }
  // Last: until then the revision stays at a commit that is there.
  if (IsCommit(plan.name.RevisionOrMain())) return {};
  return repository.WriteRef(plan.name.RevisionOrMain(), plan.commit);
}

}  // namespace marlin
