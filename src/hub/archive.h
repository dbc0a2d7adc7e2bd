// Extracts one file from an untrusted zip archive. Names in the archive never become paths.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "base/result.h"

namespace marlin {

// Writes the archive's file `member` (its whole path in the archive, or the end of it after a '/') to `target`, which
// appears whole or not at all. Memory does not depend on the archive's contents.
// Errors: kInput (unreadable, not a zip, damaged, encrypted, no such member, a name that leads out of the archive, more
// than max_bytes unpacked), kUnsupported (packed by another method than deflate), kResource (disk full), kInterrupted.
// Each names the archive.
Status ExtractMember(const std::filesystem::path& archive, std::string_view member, const std::filesystem::path& target,
                     std::uint64_t max_bytes);

}  // namespace marlin
