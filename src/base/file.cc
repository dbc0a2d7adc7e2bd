#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

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

// ".name.tmp-XXXXXX" in the folder of the target, so that the rename stays inside one file system.
std::vector<char> TemporaryPattern(const fs::path& path) {
  const std::string pattern = (path.parent_path() / ("." + path.filename().string() + ".tmp-XXXXXX")).string();
  return {pattern.c_str(), pattern.c_str() + pattern.size() + 1};
}

ErrorCode CodeOf(int errno_value) {
  const bool full = errno_value == ENOSPC || errno_value == EFBIG || errno_value == EDQUOT;
  return full ? ErrorCode::kResource : ErrorCode::kInput;
}

}  // namespace

Result<std::string> ReadFile(const fs::path& path, std::size_t max_bytes) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return Error{ErrorCode::kInput, fmt::format("cannot open {}: {}", path.string(), std::strerror(errno))};
  }
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
  return text;
}

Result<AtomicFile> AtomicFile::Create(const fs::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    // A rename would replace the device or the folder itself.
    return Error{ErrorCode::kInput, fmt::format("cannot write {}: it exists and is not a regular file", path.string())};
  }
  AtomicFile file;
  std::vector<char> pattern = TemporaryPattern(path);
  file.path_ = path;
  file.fd_ = ::mkostemp(pattern.data(), O_CLOEXEC);
  if (file.fd_ < 0) return file.WriteError(errno);
  file.temporary_ = pattern.data();
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
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
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
  if (::close(std::exchange(fd_, -1)) != 0) return WriteError(errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return WriteError(errno);
  temporary_.clear();
  SyncFolder(path_.parent_path());
  return {};
}

Status WriteFileAtomic(const fs::path& path, std::string_view text) {
  auto file = AtomicFile::Create(path);
  if (!file) return file.error();
  if (auto status = file->Write(text); !status) return status;
  return file->Commit();
}

Result<AtomicDir> AtomicDir::Create(const fs::path& path, bool overwrite) {
  const fs::path target = path.has_filename() ? path : path.parent_path();
  if (target.filename() == "." || target.filename() == "..") {
    return Error{ErrorCode::kInput, fmt::format("{}: want the name of a folder, which is made anew", target.string())};
  }
  std::error_code code;
  if (fs::exists(target, code) && !fs::is_directory(target, code)) {
    return Error{ErrorCode::kInput, fmt::format("{} exists and is no folder; choose another name", target.string())};
  }
  if (fs::exists(target, code) && !overwrite) {
    return Error{ErrorCode::kInput,
                 fmt::format("{} already exists; choose another name or give --overwrite", target.string())};
  }
  if (target.has_parent_path()) {
    fs::create_directories(target.parent_path(), code);
    if (code) {
      return Error{CodeOf(code.value()),
                   fmt::format("cannot create {}: {}", target.parent_path().string(), code.message())};
    }
  }
  std::vector<char> pattern = TemporaryPattern(target);
  if (::mkdtemp(pattern.data()) == nullptr) {
    return Error{CodeOf(errno), fmt::format("cannot create {}: {}", target.string(), std::strerror(errno))};
  }
  AtomicDir dir;
  dir.overwrite_ = overwrite;
  dir.path_ = target;
  dir.temporary_ = pattern.data();
  fs::permissions(dir.temporary_, fs::perms{0755}, code);
  return dir;
}

AtomicDir::AtomicDir(AtomicDir&& other) noexcept { *this = std::move(other); }

AtomicDir& AtomicDir::operator=(AtomicDir&& other) noexcept {
  std::swap(overwrite_, other.overwrite_);
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  return *this;
}

AtomicDir::~AtomicDir() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

Status AtomicDir::Commit() {
  std::error_code code;
  fs::path old;
  if (overwrite_ && fs::exists(path_, code)) {
    old = temporary_.string() + "-old";
    fs::rename(path_, old, code);
    if (code) return Error{CodeOf(code.value()), fmt::format("cannot replace {}: {}", path_.string(), code.message())};
  }
  fs::rename(temporary_, path_, code);
  if (code) {
    std::error_code ignored;
    if (!old.empty()) fs::rename(old, path_, ignored);
    return Error{CodeOf(code.value()), fmt::format("cannot create {}: {}", path_.string(), code.message())};
  }
  temporary_.clear();
  SyncFolder(path_.parent_path());
  if (!old.empty()) fs::remove_all(old, code);
  return {};
}

}  // namespace marlin
