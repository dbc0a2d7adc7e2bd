#include "cli/memory.h"

#include <sys/resource.h>

#include <cstdint>
#include <fstream>
#include <sstream>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "cli/model_names.h"
#include "cli/model_options.h"
#include "files/checkpoint.h"
#include "files/verify_folder.h"

namespace marlin {

void ResetPeakMemory() {
#if defined(__GLIBC__)
  ::malloc_trim(0);
#endif
  std::ofstream("/proc/self/clear_refs") << "5";  // proc(5): resets the peak resident set size
}

std::size_t PeakMemoryBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("VmHWM:")) continue;
    std::istringstream field(line.substr(6));
    std::size_t kib = 0;
    field >> kib;
    return kib * 1024;
  }
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
#if defined(__APPLE__)
  return static_cast<std::size_t>(usage.ru_maxrss);
#else
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
#endif
}

Result<OpenedModel> OpenVerified(const std::string& name, const std::vector<std::string>& accept, bool verify,
                                 Console& console) {
  if (verify) {
    const auto model = FindModel(name);
    if (!model) return model.error();
    if (auto status = VerifyFolder(model->path, console.progress()); !status) return status.error();
  }
  return OpenModelOf(name, accept, console);
}

Result<LoadedModel> LoadOpened(const OpenedModel& opened, Backend& backend, Console& console) {
  const Checkpoint& checkpoint = opened.checkpoint;
  auto tokenizer = Tokenizer::FromCheckpoint(checkpoint);
  if (!tokenizer) return tokenizer.error();
  auto model = LoadModel(checkpoint, backend, Precision::kSixteenBit, console.progress());
  if (!model) return model.error();
  return LoadedModel{std::move(*model), std::move(*tokenizer), ReadMadeBy(checkpoint.config),
                     checkpoint.accepted.found()};
}

Result<LoadedModel> LoadModelAndTokenizer(const std::string& name, const std::vector<std::string>& accept, bool verify,
                                          Backend& backend, Console& console) {
  const auto opened = OpenVerified(name, accept, verify, console);
  if (!opened) return opened.error();
  return LoadOpened(*opened, backend, console);
}

}  // namespace marlin
