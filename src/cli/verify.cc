// verify: checks every hash of a quantized folder, file by file and tensor by tensor.

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/verb.h"
#include "files/verify_folder.h"

namespace marlin {

void RegisterVerify(Verb parent) {
  auto folder = std::make_shared<std::string>();
  Verb verb = parent.AddVerb("verify", "Check every hash of a folder made by quantize",
                             "metal-marlin verify ./SmolLM2-135M-fp4-g128");
  verb.Add("folder", *folder, "Folder made by metal-marlin quantize").Required();
  verb.Runs([folder](Invocation& invocation) -> Status {
    const auto verified = VerifyFolder(*folder, invocation.console.progress());
    if (!verified) return verified.error();
    invocation.console.Result(fmt::format("{}: every file and tensor matches its hash ({} files, {})", *folder,
                                          verified->files, FormatBytes(static_cast<double>(verified->bytes))));
    invocation.console.Data(
        {{"folder", *folder}, {"ok", true}, {"files", verified->files}, {"bytes", verified->bytes}});
    return {};
  });
}

}  // namespace marlin
