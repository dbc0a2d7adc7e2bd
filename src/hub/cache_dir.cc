#include "hub/cache_dir.h"

#include <cstdlib>

namespace marlin {

Result<std::filesystem::path> CacheDir() {
  // The XDG specification: a relative path is invalid and is ignored.
  const char* xdg = std::getenv("XDG_CACHE_HOME");
  if (xdg != nullptr && xdg[0] == '/') return std::filesystem::path(xdg) / "metal-marlin";
  const char* home = std::getenv("HOME");
  if (home != nullptr && home[0] == '/') return std::filesystem::path(home) / ".cache" / "metal-marlin";
  return Error{ErrorCode::kInput,
               "there is no folder for downloads: neither XDG_CACHE_HOME nor HOME is set to an absolute path; set one"};
}

}  // namespace marlin
