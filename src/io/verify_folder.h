// Whether a quantized folder of ours is, bit for bit, what was written.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/progress.h"
#include "base/result.h"

namespace marlin {

// In the folder: the hash of every other file, as coreutils' sha256sum writes and checks them ("HASH  NAME\n").
inline constexpr std::string_view kSumsFile = "SHA256SUMS";

// Checks every file against SHA256SUMS, SHA256SUMS against the folder, every tensor against the hash in its file, and
// that every scale is finite. Errors: kCorrupt (names the file and, where it can be told, the tensor), kNumerical
// (scales), kInput (not a folder written by this program), kInterrupted.
Status VerifyFolder(const std::filesystem::path& path, const ProgressFn& progress);

// Writes SHA256SUMS for the files that are in the folder. Errors: kInput, kResource.
Status WriteSums(const std::filesystem::path& folder);

}  // namespace marlin
