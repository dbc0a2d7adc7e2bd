#include "base/mapped_file.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/open_file.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MARLIN_ADDRESS_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define MARLIN_ADDRESS_SANITIZER
#endif
#if defined(MARLIN_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#endif

namespace marlin {
namespace {

// Under AddressSanitizer, what follows the file in its last page is out of bounds, as behind an array.
void ForbidTail([[maybe_unused]] const void* data, [[maybe_unused]] std::size_t size) {
#if defined(MARLIN_ADDRESS_SANITIZER)
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  ASAN_POISON_MEMORY_REGION(static_cast<const std::uint8_t*>(data) + size, (page - size % page) % page);
#endif
}

void AllowTail([[maybe_unused]] const void* data, [[maybe_unused]] std::size_t size) {
#if defined(MARLIN_ADDRESS_SANITIZER)
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  ASAN_UNPOISON_MEMORY_REGION(static_cast<const std::uint8_t*>(data) + size, (page - size % page) % page);
#endif
}

}  // namespace

MappedFile MappedFile::Nothing(const std::filesystem::path& path) {
  MappedFile file;
  file.path_ = path;
  return file;
}

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
    ForbidTail(file.data_, file.size_);
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
  if (data_ == nullptr) return;
  AllowTail(data_, size_);
  ::munmap(const_cast<std::uint8_t*>(data_), size_);
}

void MappedFile::Forget(std::span<const std::uint8_t> part) const {
  if (part.data() < data_ || part.data() + part.size() > data_ + size_) return;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(part.data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(part.data() + part.size()) / page * page;
  // Advice that is not taken changes no result.
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace marlin
