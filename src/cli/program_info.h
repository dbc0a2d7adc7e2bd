// Version, commit and compiler of this build, for --version and for records.
#pragma once

#include <string>

namespace marlin {

struct ProgramInfo {
  std::string version;  // "0.1.0"
  std::string commit;   // twelve digits, "-dirty" when the tree had changes, "unknown" without git
  std::string compiler;
  std::string flags;
};

const ProgramInfo& GetProgramInfo();

// Several lines: version, commit, compiler, instruction sets of this machine.
std::string VersionText();

}  // namespace marlin
