#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include "base/open_file.h"
#include "base/temporary.h"

namespace marlin {
namespace fs = std::filesystem;
namespace {

// Makes the rename itself durable.
void SyncFolder(const fs::path& folder) {
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

ErrorCode CodeOf(int errno_value) {
  const bool full = errno_value == ENOSPC || errno_value == EFBIG || errno_value == EDQUOT;
  return full ? ErrorCode::kResource : ErrorCode::kInput;
}

}  // namespace

Result<std::string> ReadFile(const fs::path& path, std::size_t max_bytes) {
  const auto opened = OpenForReading(path);
  if (!opened) return opened.error();
  const int fd = *opened;
  std::string text;
  std::vector<char> chunk(1 << 16);
  for (;;) {
    const ssize_t n = ::read(fd, chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int code = errno;
      ::close(fd);
      return Error{ErrorCode::kInput, fmt::format("cannot read {}: {}", path.string(), std::strerror(code))};
    }
    if (n == 0) break;
    text.append(chunk.data(), static_cast<std::size_t>(n));
    if (text.size() > max_bytes) {
      ::close(fd);
      return Error{ErrorCode::kInput, fmt::format("{} is larger than {} bytes, which this kind of file never is",
                                                  path.string(), max_bytes)};
    }
  }
  ::close(fd);
  if (auto status = CheckNoPointer(path, text, text.size()); !status) return status.error();
  return text;
}

Status CheckOutputFile(const fs::path& path) {
  const auto refuse = [&](const std::string& why) {
    return Error{ErrorCode::kInput, fmt::format("cannot write \"{}\": {}", path.string(), why)};
  };
  if (!path.has_filename() || path.filename() == "." || path.filename() == "..") {
    return refuse("this is not the name of a file");
  }
  // A rename would replace the device or the folder itself; a link that leads nowhere may be replaced.
  const auto kind = KindOf(path);
  if (kind && *kind == PathKind::kFolder) return refuse("it is a folder; name a file in it");
  if (kind && *kind == PathKind::kOther) return refuse("it exists and is not a regular file");
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  const auto parent = KindOf(folder);
  if (!parent) return parent.error();
  if (*parent == PathKind::kNothing)
    return refuse(fmt::format("there is no folder {}; make it first", folder.string()));
  if (*parent != PathKind::kFolder) return refuse(folder.string() + " is not a folder");
  if (::access(folder.c_str(), W_OK | X_OK) != 0) {
    return refuse(fmt::format("the folder {} cannot be written: {}", folder.string(), std::strerror(errno)));
  }
  return {};
}

Status CheckFreeSpace(const fs::path& folder, std::uint64_t bytes) {
  std::error_code code;
  const fs::space_info space = fs::space(folder.empty() ? fs::path(".") : folder, code);
  if (code || space.available >= bytes) return {};
  return Error{ErrorCode::kResource,
               fmt::format("the disk of {} has {} bytes free, and {} are needed; free some, or write to another disk",
                           folder.empty() ? "." : folder.string(), space.available, bytes)};
}

Result<AtomicFile> AtomicFile::Create(const fs::path& path) {
  if (auto status = CheckOutputFile(path); !status) return status.error();
  AtomicFile file;
  file.path_ = path;
  int code = 0;
  Temporary made = MakeTemporaryFile(path, code);
  if (made.fd < 0) return file.WriteError(code);
  file.fd_ = made.fd;
  file.temporary_ = std::move(made.path);
  ::fchmod(file.fd_, 0644);
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept { *this = std::move(other); }

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  return *this;
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  if (fd_ >= 0) ::close(fd_);
}

Error AtomicFile::WriteError(int code) const {
  return {CodeOf(code), fmt::format("cannot write {}: {}", path_.string(), std::strerror(code))};
}

Status AtomicFile::Write(std::span<const std::uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return WriteError(errno);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Status AtomicFile::Write(std::string_view text) {
  return Write(std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
}

Status AtomicFile::WriteAt(std::uint64_t offset, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::pwrite(fd_, text.data(), text.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return WriteError(errno);
    text.remove_prefix(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return {};
}

Status AtomicFile::Commit() {
  if (::fsync(fd_) != 0 && errno != EINVAL) return WriteError(errno);
  // Closed after the rename: until then the lock keeps it from looking like a leftover.
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return WriteError(errno);
  temporary_.clear();
  if (::close(std::exchange(fd_, -1)) != 0) return WriteError(errno);
  SyncFolder(path_.parent_path());
  return {};
}

Status WriteFileAtomic(const fs::path& path, std::string_view text) {
  auto file = AtomicFile::Create(path);
  if (!file) return file.error();
  if (auto status = file->Write(text); !status) return status;
  return file->Commit();
}

Result<fs::path> NameOfNewFolder(const fs::path& path) {
  fs::path target = path;
  while (!target.empty() && !target.has_filename() && target != target.root_path()) target = target.parent_path();
  if (target.has_filename() && target.filename() != "." && target.filename() != "..") return target;
  return Error{ErrorCode::kInput,
               fmt::format("\"{}\" is not the name of a folder that can be made anew; give it a name "
                           "of its own, such as {}",
                           path.string(), (path / "out").lexically_normal().string())};
}

Result<fs::path> CheckOutputFolder(const fs::path& path, bool overwrite) {
  auto target = NameOfNewFolder(path);
  if (!target) return target;
  const auto kind = KindOf(*target);
  if (kind && (*kind == PathKind::kFile || *kind == PathKind::kOther)) {
    return Error{ErrorCode::kInput, fmt::format("{} exists and is no folder; choose another name", target->string())};
  }
  if (kind && *kind == PathKind::kFolder && !overwrite) {
    return Error{ErrorCode::kInput,
                 fmt::format("{} already exists; choose another name, or give --overwrite if this program made it",
                             target->string())};
  }
  return target;
}

Result<AtomicDir> AtomicDir::Create(const fs::path& path, bool overwrite) {
  const auto target = CheckOutputFolder(path, overwrite);
  if (!target) return target.error();
  std::error_code code;
  if (target->has_parent_path()) {
    fs::create_directories(target->parent_path(), code);
    if (code) {
      return Error{CodeOf(code.value()),
                   fmt::format("cannot create {}: {}", target->parent_path().string(), code.message())};
    }
  }
  int number = 0;
  Temporary made = MakeTemporaryFolder(*target, number);
  if (made.fd < 0) {
    return Error{CodeOf(number), fmt::format("cannot create {}: {}", target->string(), std::strerror(number))};
  }
  AtomicDir dir;
  dir.overwrite_ = overwrite;
  dir.path_ = *target;
  dir.lock_ = made.fd;
  dir.temporary_ = std::move(made.path);
  fs::permissions(dir.temporary_, fs::perms{0755}, code);
  return dir;
}

AtomicDir::AtomicDir(AtomicDir&& other) noexcept { *this = std::move(other); }

AtomicDir& AtomicDir::operator=(AtomicDir&& other) noexcept {
  std::swap(overwrite_, other.overwrite_);
  std::swap(lock_, other.lock_);
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  return *this;
}

AtomicDir::~AtomicDir() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
  if (lock_ >= 0) ::close(lock_);
}

namespace {

// In one step, so that a kill leaves the old folder or the new one under the name. False where this system cannot.
bool Exchange([[maybe_unused]] const fs::path& a, [[maybe_unused]] const fs::path& b) {
#if defined(RENAME_EXCHANGE)
  return ::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0;
#else
  return false;
#endif
}

// In two steps; a kill between them leaves the old folder where the next run finds it.
std::error_code ReplaceInTwoSteps(const fs::path& temporary, const fs::path& path) {
  const fs::path old = SetAsideName(temporary);
  const int lock = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock >= 0) TryLock(lock, path);
  std::error_code code;
  std::error_code ignored;
  fs::rename(path, old, code);
  if (!code) {
    fs::rename(temporary, path, code);
    if (code) fs::rename(old, path, ignored);
    if (!code) fs::remove_all(old, ignored);
  }
  if (lock >= 0) ::close(lock);
  return code;
}

}  // namespace

Status AtomicDir::Commit() {
  std::error_code code;
  if (overwrite_ && IsListed(path_)) {
    if (!Exchange(temporary_, path_)) {
      code = ReplaceInTwoSteps(temporary_, path_);
      if (code) {
        return Error{CodeOf(code.value()), fmt::format("cannot replace {}: {}", path_.string(), code.message())};
      }
      temporary_.clear();
    }
    SyncFolder(path_.parent_path());
    // After an exchange the old folder has the temporary name.
    if (!temporary_.empty()) fs::remove_all(std::exchange(temporary_, {}), code);
    return {};
  }
  fs::rename(temporary_, path_, code);
  if (code) return Error{CodeOf(code.value()), fmt::format("cannot create {}: {}", path_.string(), code.message())};
  temporary_.clear();
  SyncFolder(path_.parent_path());
  return {};
}

}  // namespace marlin
