// Checks that a quantized folder is bit-identical to what was written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

#include "base/progress.h"
#include "base/result.h"

namespace marlin {

// What was read and found right.
struct VerifiedFolder {
  std::size_t files = 0;  // all but SHA256SUMS
  std::uint64_t bytes = 0;
};

// Checks every file against SHA256SUMS, SHA256SUMS against the folder, every tensor against the hash in its file, and
// that every scale is finite. Errors: kCorrupt (names the file and, where it can be told, the tensor), kNumerical
// (scales), kInput (not a folder written by this program; a GGUF file is told what can be checked instead),
// kInterrupted. Progress counts bytes.
Result<VerifiedFolder> VerifyFolder(const std::filesystem::path& path, const ProgressFn& progress);

}  // namespace marlin
