// What the Hugging Face Hub answers about a repository, and what the index of a sharded model names. Everything here
// comes from outside: nothing is believed before it is checked. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace marlin {

inline constexpr std::size_t kMaxRepoInfo = std::size_t{1} << 24;    // bytes of an answer; 10,000 files take 3 MB
inline constexpr std::size_t kMaxShardIndex = std::size_t{1} << 27;  // about 100 bytes a tensor

struct RepoFile {
  std::string name;  // safe: CheckFileName holds
  std::uint64_t size = 0;
  std::string
      hash;  // of the contents, and the name of the blob in the cache: SHA-256 of a large file, else git's SHA-1
};

struct RepoInfo {
  std::string commit;           // 40 hexadecimal digits
  std::vector<RepoFile> files;  // by name; no name twice, none that is another one's folder
};

// The answer to /api/models/ORG/MODEL/revision/REVISION?blobs=true. Errors: kInput, beginning with `where`: no JSON, a
// part that is missing or wrong, a file name that is not safe or collides with another.
Result<RepoInfo> ParseRepoInfo(std::string_view text, const std::string& where);

// The shards that model.safetensors.index.json names, each once, by name. Errors: kInput, beginning with `where`.
Result<std::vector<std::string>> ParseShardNames(std::string_view text, const std::string& where);

}  // namespace marlin
