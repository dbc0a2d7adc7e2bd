// Inputs as files, for parsers that read files: a file and a folder in memory where the system has that.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "fuzz/targets.h"

namespace marlin {

// The path of a file that holds the input until the next call.
inline std::filesystem::path FuzzFile(FuzzInput input) {
  static const int fd = ::memfd_create("input", MFD_CLOEXEC);
  MARLIN_CHECK(fd >= 0, "a file in memory");
  const auto size = static_cast<ssize_t>(input.size());
  MARLIN_CHECK(::ftruncate(fd, 0) == 0 && ::pwrite(fd, input.data(), input.size(), 0) == size, "room for the input");
  return "/proc/self/fd/" + std::to_string(fd);
}

// A folder of this process in TMPDIR (else /tmp), removed at its end.
class FuzzFolder {
 public:
  FuzzFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "marlin_fuzz_XXXXXX").string();
    MARLIN_CHECK(::mkdtemp(pattern.data()) != nullptr, "a temporary folder");
    path_ = pattern;
  }
  FuzzFolder(const FuzzFolder&) = delete;
  FuzzFolder& operator=(const FuzzFolder&) = delete;
  ~FuzzFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path_), {}));
  }

 private:
  std::filesystem::path path_;
};

}  // namespace marlin
