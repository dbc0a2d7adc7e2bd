// What the Hugging Face Hub answers: the name of a model, the answer about its repository and the index of its shards,
// separated by lines "====".
#include <filesystem>
#include <set>

#include "fuzz/target_list.h"
#include "hub/hub_api.h"
#include "hub/hub_cache.h"
#include "hub/hub_name.h"
#include "hub/model_files.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

// Cuts off what stands before the next separator.
std::string_view CutPart(std::string_view& rest) {
  constexpr std::string_view kBetween = "\n====\n";
  const std::size_t end = rest.find(kBetween);
  const std::string_view part = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + kBetween.size());
  return part;
}

// Whether the path stays below the folder and is written as it is.
bool IsBelow(const fs::path& path, const fs::path& folder) {
  const std::string text = path.lexically_normal().string();
  return text == path.string() && text.starts_with(folder.string() + "/") && text.size() > folder.string().size() + 1;
}

void CheckPlaces(const HubName& name, const RepoInfo& info) {
  const CachedRepository repository("/cache", name.repository);
  MARLIN_CHECK(repository.folder().parent_path() == "/cache", "a repository is one folder of the cache");
  MARLIN_CHECK(IsBelow(repository.folder() / "refs" / name.RevisionOrMain(), repository.folder() / "refs"),
               "a revision is a place below the refs");
  for (const RepoFile& file : info.files) {
    const fs::path snapshot = repository.Snapshot(info.commit);
    MARLIN_CHECK(snapshot.parent_path() == repository.folder() / "snapshots", "a commit is one folder");
    MARLIN_CHECK(IsBelow(snapshot / file.name, snapshot), "a file is a place below its snapshot");
    MARLIN_CHECK(repository.Blob(file.hash).parent_path() == repository.folder() / "blobs", "a hash is one name");
    MARLIN_CHECK(EscapePath(file.name).find_first_of(" ?#\r\n") == std::string::npos, "a path of a URL");
  }
}

}  // namespace

Status FuzzHub(FuzzInput input) {
  std::string_view rest = FuzzText(input);
  const auto name = ParseHubName(std::string(CutPart(rest)));
  if (!name) return Error{ErrorCode::kInput, name.error().message};  // of the command line, not of the Hub
  const auto info = ParseRepoInfo(CutPart(rest), "the answer");
  if (!info) return info.error();
  CheckPlaces(*name, *info);
  const auto read = [&](const RepoFile&) { return Result<std::string>(std::string(rest)); };
  const auto chosen = ChooseModelFiles(*name, info->files, read);
  if (!chosen)
    return chosen.error().code == ErrorCode::kUsage ? Error{ErrorCode::kInput, chosen.error().message} : chosen.error();
  MARLIN_CHECK(!chosen->files.empty(), "a model has files");
  std::set<std::string> listed;
  std::set<std::string> taken;
  for (const RepoFile& file : info->files) listed.insert(file.name);
  for (const RepoFile& file : chosen->files) {
    MARLIN_CHECK(listed.contains(file.name) && taken.insert(file.name).second, "files of the repository, each once");
  }
  MARLIN_CHECK(chosen->gguf.empty() || taken.contains(chosen->gguf), "the file to open is one of them");
  return {};
}

}  // namespace marlin
