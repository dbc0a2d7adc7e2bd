#include "study/work_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iterator>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace marlin {
namespace fs = std::filesystem;
namespace {

constexpr const char* kLockName = ".lock";

void RemoveTemporaries(const fs::path& folder) {
  std::error_code code;
  std::vector<fs::path> stale;
  for (const auto& entry : fs::directory_iterator(folder, code)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with('.') && name.find(".tmp-") != std::string::npos) stale.push_back(entry.path());
  }
  for (const fs::path& path : stale) fs::remove_all(path, code);
}

}  // namespace

Result<WorkFolder> WorkFolder::Open(const fs::path& path) {
  std::error_code code;
  fs::create_directories(path, code);
  if (code) return Error{ErrorCode::kInput, fmt::format("cannot create {}: {}", path.string(), code.message())};
  WorkFolder folder;
  const fs::path lock = path / kLockName;
  folder.lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (folder.lock_ < 0) {
    return Error{ErrorCode::kInput, fmt::format("cannot write in {}: {}", path.string(), std::strerror(errno))};
  }
  if (::flock(folder.lock_, LOCK_EX | LOCK_NB) != 0) {
    return Error{ErrorCode::kFailure, fmt::format("another comparison is running in {}; wait for it or choose another "
                                                  "folder with --work",
                                                  path.string())};
  }
  folder.path_ = path;
  RemoveTemporaries(path);
  return folder;
}

WorkFolder::WorkFolder(WorkFolder&& other) noexcept { *this = std::move(other); }

WorkFolder& WorkFolder::operator=(WorkFolder&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(lock_, other.lock_);
  return *this;
}

WorkFolder::~WorkFolder() {
  if (lock_ < 0) return;
  std::error_code ignored;
  if (!path_.empty()) {
    const bool only_the_lock = std::distance(fs::directory_iterator(path_, ignored), fs::directory_iterator()) == 1;
    if (only_the_lock) {
      fs::remove(path_ / kLockName, ignored);
      fs::remove(path_, ignored);
    }
  }
  ::close(lock_);
}

}  // namespace marlin
