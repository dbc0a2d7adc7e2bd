// verify: checks every hash of a quantized folder, file by file and tensor by tensor; and those of a model in the
// cache.

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/open_file.h"
#include "cli/model_names.h"
#include "cli/verb.h"
#include "files/sums_file.h"
#include "files/verify_folder.h"

namespace marlin {
namespace {

Status VerifyCached(const std::string& name, const CachedModel& model, Console& console) {
  const auto checked = CheckCachedModel(model, console.progress());
  if (!checked) return checked.error();
  if (*checked == 0) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{}: the cache {} holds copies instead of links, so the hashes are "
                             "not known",
                             name, model.snapshot.string())};
  }
  console.Result(
      fmt::format("{}: {} of commit {} match their hashes", name, CountText(*checked, "file"), model.commit));
  console.Data({{"model", name}, {"commit", model.commit}, {"ok", true}, {"files", *checked}});
  return {};
}

Status RunVerify(const std::string& folder, Console& console) {
  const auto model = FindModel(folder);
  if (!model) return model.error();
  if (!model->note.empty()) console.Warn(model->note);
  if (model->cached && !IsListed(model->path / kSumsFile)) return VerifyCached(folder, *model->cached, console);
  const auto verified = VerifyFolder(model->path, console.progress());
  if (!verified) return verified.error();
  console.Result(fmt::format("{}: every file and tensor matches its hash ({} files, {})", folder, verified->files,
                             FormatBytes(static_cast<double>(verified->bytes))));
  console.Data({{"folder", folder}, {"ok", true}, {"files", verified->files}, {"bytes", verified->bytes}});
  return {};
}

}  // namespace

void RegisterVerify(Verb parent) {
  auto folder = std::make_shared<std::string>();
  Verb verb = parent.AddVerb("verify", "Check every hash of a folder made by quantize, or of a model in the cache",
                             "metal-marlin verify ./SmolLM2-135M-fp4-g128");
  verb.Add("folder", *folder, "Folder made by metal-marlin quantize, or ORG/MODEL in the cache (see pull)").Required();
  verb.Runs([folder](Invocation& invocation) { return RunVerify(*folder, invocation.console); });
}

}  // namespace marlin
