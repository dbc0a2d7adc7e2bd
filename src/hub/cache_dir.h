// Folder for downloads: $XDG_CACHE_HOME/metal-marlin, else ~/.cache/metal-marlin.
#pragma once

#include <filesystem>

#include "base/result.h"

namespace marlin {

// The folder; it need not exist. Errors: kInput when neither variable names an absolute path.
Result<std::filesystem::path> CacheDir();

}  // namespace marlin
