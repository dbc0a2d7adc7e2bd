// Atomic file writes: a file is written under a temporary name beside the target, synced and renamed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace marlin {

// The whole file as a string. Errors: kInput (missing, unreadable, no regular file, larger than max_bytes).
Result<std::string> ReadFile(const std::filesystem::path& path, std::size_t max_bytes = std::size_t{1} << 32);

// Whether a file can be written at this path; asked before work whose result belongs there. Errors: kInput (no file's
// name, a folder or a device in its place, no folder to write in).
Status CheckOutputFile(const std::filesystem::path& path);

// Whether the disk of a folder has room for so many bytes; asked before the first of them is written. A file system
// that does not say passes. Errors: kResource, with both numbers.
Status CheckFreeSpace(const std::filesystem::path& folder, std::uint64_t bytes);

// A file being written. Nothing is visible under `path` before Commit; a destroyed writer leaves nothing behind.
// Errors of every call: kResource when the disk is full or a size limit is hit, kInput when the place cannot be
// written; each names the file.
class AtomicFile {
 public:
  static Result<AtomicFile> Create(const std::filesystem::path& path);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  Status Write(std::span<const std::uint8_t> bytes);
  Status Write(std::string_view text);
  // Overwrites bytes that were written before; the end of the file does not move.
  Status WriteAt(std::uint64_t offset, std::string_view text);
  Status Commit();

 private:
  AtomicFile() = default;
  Error WriteError(int code) const;
  int fd_ = -1;
  std::filesystem::path path_;
  std::filesystem::path temporary_;
};

// Create + Write + Commit.
Status WriteFileAtomic(const std::filesystem::path& path, std::string_view text);

// The name of a folder that is made anew, without the slash that a shell put behind it. Errors: kInput for "", ".",
// "..",
// "/", which name no folder that could be made.
Result<std::filesystem::path> NameOfNewFolder(const std::filesystem::path& path);

// Whether a folder can be made at this path, and its name; asked before work whose result belongs there. Errors: kInput
// (no folder's name, a file in its place, a folder and overwrite is false).
Result<std::filesystem::path> CheckOutputFolder(const std::filesystem::path& path, bool overwrite);

// A folder being filled under a temporary name beside `path`. Commit renames it; an existing folder at `path` is
// replaced only when `overwrite` was given, and is kept until the new one is complete.
class AtomicDir {
 public:
  // Errors: kInput when `path` exists and overwrite is false, or the parent cannot be written.
  static Result<AtomicDir> Create(const std::filesystem::path& path, bool overwrite);

  AtomicDir(AtomicDir&& other) noexcept;
  AtomicDir& operator=(AtomicDir&& other) noexcept;
  AtomicDir(const AtomicDir&) = delete;
  AtomicDir& operator=(const AtomicDir&) = delete;
  ~AtomicDir();

  const std::filesystem::path& temporary() const { return temporary_; }
  Status Commit();

 private:
  AtomicDir() = default;
  bool overwrite_ = false;
  int lock_ = -1;  // on the temporary folder
  std::filesystem::path path_;
  std::filesystem::path temporary_;
};

}  // namespace marlin
