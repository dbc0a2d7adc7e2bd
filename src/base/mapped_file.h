// A whole file mapped read-only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "base/result.h"

namespace marlin {

class MappedFile {
 public:
  // Errors: kInput when the file is missing, is not a regular file or cannot be read.
  static Result<MappedFile> Open(const std::filesystem::path& path);

  // Of no bytes, for data that has the form of a file and lies elsewhere; messages name it by `path`.
  static MappedFile Nothing(const std::filesystem::path& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::uint8_t> bytes() const { return {data_, size_}; }
  // Takes the whole pages of a part out of the memory of this process. They are read again where they are used again. A
  // large file that is read once would fill it otherwise. A part that lies elsewhere stays as it is.
  void Forget(std::span<const std::uint8_t> part) const;
  const std::filesystem::path& path() const { return path_; }

 private:
  MappedFile() = default;
  const std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
  std::filesystem::path path_;
};

}  // namespace marlin
