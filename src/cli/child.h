// Runs this program in a fresh process, for measurements of memory.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace marlin {

// The file of this program. Errors: kFailure (the system does not tell).
Result<std::filesystem::path> OwnFile();

// Runs metal-marlin with `arguments` and returns its stdout. Errors: the child's exit code and last message, or
// kFailure if it could not be started.
Result<std::string> RunSelf(const std::vector<std::string>& arguments);

}  // namespace marlin
