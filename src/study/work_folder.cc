#include "study/work_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/temporary.h"

namespace marlin {
namespace fs = std::filesystem;
namespace {

constexpr const char* kLockName = ".lock";

// Whether the lock is all that lies in the folder.
bool HoldsOnlyTheLock(const fs::path& folder) {
  std::error_code code;
  std::size_t entries = 0;
  for (fs::directory_iterator it(folder, code); !code && it != fs::directory_iterator(); it.increment(code)) ++entries;
  return !code && entries == 1;
}

// Makes the folder and its lock. A run that ends removes both, perhaps between any two of these steps: then kGone.
Result<LockState> OpenAndLock(const fs::path& path, int& fd) {
  std::error_code code;
  fs::create_directories(path, code);
  if (code) return Error{ErrorCode::kInput, fmt::format("cannot create {}: {}", path.string(), code.message())};
  const fs::path lock = path / kLockName;
  fd = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644);
  if (fd < 0 && errno == ENOENT) return LockState::kGone;
  if (fd < 0) {
    return Error{ErrorCode::kInput, fmt::format("cannot write in {}: {}", path.string(), std::strerror(errno))};
  }
  return TryLock(fd, lock);
}

}  // namespace

Result<WorkFolder> WorkFolder::Open(const fs::path& path) {
  constexpr int kTries = 100;
  WorkFolder folder;
  LockState state = LockState::kGone;
  for (int i = 0; i < kTries && state == LockState::kGone; ++i) {
    if (folder.lock_ >= 0) ::close(std::exchange(folder.lock_, -1));
    const auto tried = OpenAndLock(path, folder.lock_);
    if (!tried) return tried.error();
    state = *tried;
  }
  if (state == LockState::kNoLocking) {
    return Error{ErrorCode::kInput, fmt::format("{} is on a file system without locks, so two comparisons could not be "
                                                "kept apart; choose another folder with --work",
                                                path.string())};
  }
  if (state != LockState::kHeld) {
    return Error{ErrorCode::kFailure, fmt::format("another comparison is running in {}; wait for it or choose another "
                                                  "folder with --work",
                                                  path.string())};
  }
  folder.path_ = path;
  RemoveLeftovers(path);
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
  if (!path_.empty() && HoldsOnlyTheLock(path_)) {
    fs::remove(path_ / kLockName, ignored);  // while it is held: see TryLock
    fs::remove(path_, ignored);
  }
  ::close(lock_);
}

}  // namespace marlin
