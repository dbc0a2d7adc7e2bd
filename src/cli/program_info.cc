#include "cli/program_info.h"

#include <fmt/format.h>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/isa.h"
#include "version_info.h"

namespace marlin {

const ProgramInfo& GetProgramInfo() {
  static const ProgramInfo kInfo{MARLIN_VERSION, MARLIN_COMMIT, MARLIN_COMPILER, MARLIN_FLAGS};
  return kInfo;
}

std::string VersionText() {
  const ProgramInfo& info = GetProgramInfo();
  return fmt::format("metal-marlin {}\ncommit    {}\ncompiler  {} ({})\nisa       {}\ncuda      {}", info.version,
                     info.commit, info.compiler, info.flags, IsaNames(HostIsa()),
                     BuiltWithCuda() ? "built in" : "not built in");
}

}  // namespace marlin
