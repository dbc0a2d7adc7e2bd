#include "base/mapped_file.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/open_file.h"

namespace marlin {

Result<MappedFile> MappedFile::Open(const std::filesystem::path& path) {
  const auto opened = OpenForReading(path);
  if (!opened) return opened.error();
  const int fd = *opened;
  struct stat info {};
  if (::fstat(fd, &info) != 0) {
    const int code = errno;
    ::close(fd);
    return Error{ErrorCode::kInput, fmt::format("cannot open {}: {}", path.string(), std::strerror(code))};
  }
  MappedFile file;
  file.path_ = path;
  file.size_ = static_cast<std::size_t>(info.st_size);
  if (file.size_ > 0) {
    void* data = ::mmap(nullptr, file.size_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
      const int code = errno;
      ::close(fd);
      file.size_ = 0;
      return Error{ErrorCode::kInput, fmt::format("cannot map {}: {}", path.string(), std::strerror(code))};
    }
    file.data_ = static_cast<const std::uint8_t*>(data);
  }
  ::close(fd);
  const std::string_view text(reinterpret_cast<const char*>(file.data_), std::min(file.size_, std::size_t{64}));
  if (auto status = CheckNoPointer(path, text, file.size_); !status) return status.error();
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::uint8_t*>(data_), size_);
}

}  // namespace marlin
