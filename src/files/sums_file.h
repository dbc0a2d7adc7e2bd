// The list of a quantized folder's files and their hashes.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace marlin {

// In the folder: the hash of every other file, as coreutils' sha256sum writes and checks them ("HASH  NAME\n").
inline constexpr std::string_view kSumsFile = "SHA256SUMS";

// Hash by file name.
using FileHashes = std::map<std::string, std::string>;

// Writes SHA256SUMS for the files that are in the folder. Errors: kInput, kResource.
Status WriteSums(const std::filesystem::path& folder);

// Errors: kInput (there is none), kCorrupt (a line that WriteSums does not write).
Result<FileHashes> ReadSums(const std::filesystem::path& folder);

// The regular files of the folder but SHA256SUMS, in name order. Errors: kInput.
Result<std::vector<std::string>> ListFiles(const std::filesystem::path& folder);

// Something in the folder that its SHA256SUMS does not list; empty if there is nothing. Errors: kInput.
Result<std::string> FirstUnlisted(const std::filesystem::path& folder);

// kCorrupt: a file is not what was written.
Error Damaged(const std::filesystem::path& path, const std::string& what);

}  // namespace marlin
