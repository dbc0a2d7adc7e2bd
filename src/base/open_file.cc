#include "base/open_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

namespace marlin {
namespace fs = std::filesystem;
namespace {

// The reason behind `code`, with the target of a link that leads to nothing.
Error CannotOpen(const fs::path& path, int code) {
  std::error_code no_link;
  const fs::path target = fs::read_symlink(path, no_link);
  if (code == ENOENT && !no_link) {
    return {ErrorCode::kInput,
            fmt::format("{} is a link to {}, which does not exist; download or restore that file, or name another",
                        path.string(), target.string())};
  }
  return {ErrorCode::kInput, fmt::format("cannot open {}: {}", path.string(), std::strerror(code))};
}

Error NoFile(const fs::path& path, mode_t mode) {
  if (S_ISDIR(mode)) return {ErrorCode::kInput, fmt::format("{} is a folder, a file was wanted", path.string())};
  const char* const what = S_ISFIFO(mode) ? "a named pipe" : S_ISSOCK(mode) ? "a socket" : "a device";
  return {ErrorCode::kInput,
          fmt::format("{} is not a regular file but {}; copy its contents into a file", path.string(), what)};
}

}  // namespace

Result<PathKind> KindOf(const fs::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0) {
    if (S_ISREG(info.st_mode)) return PathKind::kFile;
    return S_ISDIR(info.st_mode) ? PathKind::kFolder : PathKind::kOther;
  }
  const int code = errno;
  if ((code == ENOENT || code == ENOTDIR) && !IsListed(path)) return PathKind::kNothing;
  return CannotOpen(path, code);
}

bool IsListed(const fs::path& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0;
}

bool IsFile(const fs::path& path) {
  const auto kind = KindOf(path);
  return kind ? *kind == PathKind::kFile : IsListed(path);
}

Result<int> OpenForReading(const fs::path& path) {
  // Looked at first: opening a device may already act on it. O_NONBLOCK: a pipe may come into its place meanwhile.
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return CannotOpen(path, errno);
  if (!S_ISREG(info.st_mode)) return NoFile(path, info.st_mode);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return CannotOpen(path, errno);
  if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) return fd;
  ::close(fd);
  return NoFile(path, info.st_mode);
}

Status CheckNoPointer(const fs::path& path, std::string_view start, std::size_t size) {
  constexpr std::size_t kLongest = 1024;  // of a pointer, by the specification of git-lfs
  if (size >= kLongest || !start.starts_with("version https://git-lfs.github.com/spec/")) return {};
  return Error{ErrorCode::kInput,
               fmt::format("{} is a git-lfs pointer, not the file itself; fetch it with `git lfs pull`, or download it",
                           path.string())};
}

}  // namespace marlin
