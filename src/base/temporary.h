// Temporary files and folders beside the output that they become: ".NAME.tmp-XXXXXX". Each is locked while the program
// that made it runs, so that the next one which writes the same output can tell and remove what a killed one left.
#pragma once

#include <filesystem>

#include "base/result.h"

namespace marlin {

enum class LockState {
  kHeld,      // by this program from now on, until the descriptor is closed
  kBusy,      // another program holds it
  kGone,      // the path names another file by now, or none: open it again
  kNoLocking  // this file system has no locks
};

// Never waits. A lock on a file that was renamed or removed meanwhile guards nothing and is not reported as held.
LockState TryLock(int fd, const std::filesystem::path& path);

// A temporary with its lock. The owner closes the descriptor after it renamed or removed the path.
struct Temporary {
  int fd = -1;
  std::filesystem::path path;
};

// For writing, resp. empty. Both remove what killed runs left of the same target first. Errors: errno, in `code`.
Temporary MakeTemporaryFile(const std::filesystem::path& target, int& code);
Temporary MakeTemporaryFolder(const std::filesystem::path& target, int& code);

// Where a folder waits while another one takes its place.
std::filesystem::path SetAsideName(const std::filesystem::path& temporary);

// Removes every temporary in a folder that no running program holds.
void RemoveLeftovers(const std::filesystem::path& folder);

}  // namespace marlin
