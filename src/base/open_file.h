// What lies at a path that a user named, and opening it. One place says in plain words why a path cannot be read.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/result.h"

namespace marlin {

enum class PathKind { kNothing, kFile, kFolder, kOther };

// Follows links. Errors: kInput for a path that cannot be looked at: a link to nothing, no permission, too long a name.
Result<PathKind> KindOf(const std::filesystem::path& path);

// Whether a folder lists this name. A link counts even where it leads to nothing; opening it then says so.
bool IsListed(const std::filesystem::path& path);

// Whether a regular file lies there, or a link that leads to nothing: opening that says so.
bool IsFile(const std::filesystem::path& path);

// Opens a regular file for reading and returns its descriptor, which the caller closes. Never waits for a writer.
// Errors: kInput, naming what is there instead: nothing, a dangling link, a folder, a pipe, a device.
Result<int> OpenForReading(const std::filesystem::path& path);

// Errors: kInput when `start`, the first bytes of the file of `size` bytes, is a pointer that git-lfs left in its
// place.
Status CheckNoPointer(const std::filesystem::path& path, std::string_view start, std::size_t size);

}  // namespace marlin
