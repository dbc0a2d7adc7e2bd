// An incomplete download: a file beside the target, and beside that PATH.from, which names what it is the beginning of.
// It is locked, so that two programs never write into one file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "base/result.h"

namespace marlin {

class PartialFile {
 public:
  // Creates the folder of the target and opens what is there of it at `path`. What has another origin (the URL, or
  // another name of the bytes), or says nothing of it, is emptied. Waits for a program that is busy with the same file.
  // Errors: kInput (cannot be written), kResource (disk full), kInterrupted while waiting.
  static Result<PartialFile> Open(const std::filesystem::path& target, const std::filesystem::path& path,
                                  const std::string& origin);

  PartialFile(PartialFile&& other) noexcept;
  PartialFile& operator=(PartialFile&& other) noexcept;
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;
  ~PartialFile();  // keeps the bytes for the next time if they can be continued, deletes them if not

  std::uint64_t size() const { return size_; }
  // The server's own mark of this version of the file (ETag, or date); empty = none, so it cannot be continued.
  const std::string& validator() const { return validator_; }
  const std::filesystem::path& path() const { return path_; }

  // Empties the file; what is appended from now on comes from the version that the validator names.
  Status Restart(const std::string& validator);
  Status Append(std::span<const std::uint8_t> bytes);
  // Makes it the target, on disk before it is visible.
  Status Commit();

 private:
  PartialFile() = default;
  std::filesystem::path origin_path() const;
  Error WriteError(int code) const;
  // True when the lock was taken, false when another program holds it.
  Result<bool> TryOpen();
  void LoadOrigin();

  int fd_ = -1;
  std::uint64_t size_ = 0;
  std::filesystem::path target_;
  std::filesystem::path path_;
  std::string origin_;
  std::string validator_;
};

}  // namespace marlin
