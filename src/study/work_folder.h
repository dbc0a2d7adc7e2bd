// The folder of unfinished work. It is locked, so that two comparisons do not share it, and cleaned of the remains of
// killed runs.
#pragma once

#include <filesystem>

#include "base/result.h"

namespace marlin {

class WorkFolder {
 public:
  // Makes the folder if needed, locks it and removes temporary files and folders in it (".NAME.tmp-XXXXXX": nobody else
  // writes here). Errors: kInput (cannot be made), kFailure (another comparison holds it).
  static Result<WorkFolder> Open(const std::filesystem::path& path);

  WorkFolder(WorkFolder&& other) noexcept;
  WorkFolder& operator=(WorkFolder&& other) noexcept;
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  ~WorkFolder();  // unlocks; removes the folder if nothing is in it

  const std::filesystem::path& path() const { return path_; }

 private:
  WorkFolder() = default;
  std::filesystem::path path_;
  int lock_ = -1;
};

}  // namespace marlin
