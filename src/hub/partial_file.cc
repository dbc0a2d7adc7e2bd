#include "hub/partial_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>
#include <thread>
#include <utility>

#include "base/file.h"
#include "base/progress.h"
#include "base/temporary.h"

namespace marlin {
namespace fs = std::filesystem;

fs::path PartialFile::origin_path() const { return path_.string() + ".from"; }

Error PartialFile::WriteError(int code) const {
  if (code == ENOSPC || code == EDQUOT || code == EFBIG) {
    return {ErrorCode::kResource, fmt::format("no room for {}: {} after {} bytes; free some space and try again",
                                              path_.string(), std::strerror(code), size_)};
  }
  return {ErrorCode::kInput, fmt::format("cannot write {}: {}; choose another folder or change its permissions",
                                         path_.string(), std::strerror(code))};
}

Result<bool> PartialFile::TryOpen() {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) return WriteError(errno);
  const LockState state = TryLock(fd_, path_);
  if (state == LockState::kNoLocking) {
    const int code = errno;
    ::close(std::exchange(fd_, -1));
    return WriteError(code);
  }
  struct stat opened {};
  if (state == LockState::kHeld && ::fstat(fd_, &opened) == 0) {
    size_ = static_cast<std::uint64_t>(opened.st_size);
    return true;
  }
  ::close(std::exchange(fd_, -1));
  return false;
}

void PartialFile::LoadOrigin() {
  const auto origin = ReadFile(origin_path(), 1 << 16);
  if (!origin) return;
  const std::string head = origin_ + "\n";  // two lines: origin, validator
  if (origin->starts_with(head) && origin->ends_with("\n") && origin->size() > head.size()) {
    validator_ = origin->substr(head.size(), origin->size() - head.size() - 1);
  }
}

Result<PartialFile> PartialFile::Open(const fs::path& target, const fs::path& path, const std::string& origin) {
  PartialFile file;
  file.target_ = target;
  file.path_ = path;
  file.origin_ = origin;
  std::error_code code;
  if (target.has_parent_path()) fs::create_directories(target.parent_path(), code);
  if (code) return file.WriteError(code.value());
  for (;;) {
    auto open = file.TryOpen();
    if (!open) return open.error();
    if (*open) break;
    if (Interrupted()) {
      return Error{ErrorCode::kInterrupted,
                   fmt::format("interrupted while another program downloads {}", target.string())};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  file.LoadOrigin();
  if (file.validator_.empty() && file.size_ > 0) {
    if (auto status = file.Restart(""); !status) return status.error();
  }
  return file;
}

PartialFile::PartialFile(PartialFile&& other) noexcept { *this = std::move(other); }

PartialFile& PartialFile::operator=(PartialFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  std::swap(target_, other.target_);
  std::swap(path_, other.path_);
  std::swap(origin_, other.origin_);
  std::swap(validator_, other.validator_);
  return *this;
}

PartialFile::~PartialFile() {
  if (fd_ < 0) return;
  if (validator_.empty() || size_ == 0) {
    ::unlink(origin_path().c_str());
    ::unlink(path_.c_str());
  }
  ::close(fd_);
}

Status PartialFile::Restart(const std::string& validator) {
  validator_.clear();
  ::unlink(origin_path().c_str());
  if (::ftruncate(fd_, 0) != 0 || ::lseek(fd_, 0, SEEK_SET) != 0) return WriteError(errno);
  size_ = 0;
  if (validator.empty() || validator.find('\n') != std::string::npos) return {};
  if (auto status = WriteFileAtomic(origin_path(), fmt::format("{}\n{}\n", origin_, validator)); !status) return status;
  validator_ = validator;
  return {};
}

Status PartialFile::Append(std::span<const std::uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(size_));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return WriteError(errno);
    size_ += static_cast<std::uint64_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Status PartialFile::Commit() {
  if (::fsync(fd_) != 0 && errno != EINVAL) return WriteError(errno);
  // The origin goes first: after the rename another program may begin a new download with one of its own.
  ::unlink(origin_path().c_str());
  if (::rename(path_.c_str(), target_.c_str()) != 0) return WriteError(errno);
  ::close(std::exchange(fd_, -1));
  return {};
}

}  // namespace marlin
