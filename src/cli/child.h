// This program again, in a fresh process: for measurements that this process's memory would spoil.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace marlin {

// Runs metal-marlin with `arguments` and returns what it wrote to stdout. Errors: the child's exit code and last words,
// or kFailure when it could not be started.
Result<std::string> RunSelf(const std::vector<std::string>& arguments);

}  // namespace marlin
