#include "hub/hub_api.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/json_depth.h"
#include "hub/hub_name.h"

namespace marlin {
namespace {
using nlohmann::json;

constexpr std::size_t kMostFiles = 100'000;
constexpr std::uint64_t kLargestFile = std::uint64_t{1} << 46;  // so that the sum of all files is a number too
constexpr std::size_t kSha1Digits = 40;
constexpr std::size_t kSha256Digits = 64;

Error BadAnswer(const std::string& where, std::string_view what) {
  return {ErrorCode::kInput, fmt::format("{}: {}", where, what)};
}

// A JSON object. Keys that are given twice have the last value.
Result<json> ParseAnswer(std::string_view text, std::size_t max_bytes, const std::string& where) {
  if (text.size() > max_bytes) {
    return BadAnswer(where, fmt::format("has {} bytes, want at most {}", text.size(), max_bytes));
  }
  if (JsonDepth(text) > kDeepestJson) return BadAnswer(where, fmt::format("is nested deeper than {}", kDeepestJson));
  json value = json::parse(text, nullptr, false);
  if (!value.is_object()) {
    return BadAnswer(where, fmt::format("is not a JSON object but begins with {}", QuoteForeign(text.substr(0, 40))));
  }
  return value;
}

const json* Member(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

Result<std::string> HexOf(const json* value, std::size_t digits, const std::string& where, std::string_view what) {
  const std::string text = value != nullptr && value->is_string() ? value->get<std::string>() : "";
  if (text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string::npos) return text;
  return BadAnswer(where, fmt::format("{} is {}, want {} hexadecimal digits", what,
                                      value == nullptr ? "missing" : QuoteForeign(text), digits));
}

Result<RepoFile> ParseFile(const json& sibling, const std::string& where) {
  const json* const name = sibling.is_object() ? Member(sibling, "rfilename") : nullptr;
  if (name == nullptr || !name->is_string()) return BadAnswer(where, "a file in \"siblings\" has no name");
  RepoFile file;
  file.name = name->get<std::string>();
  if (auto status = CheckFileName(file.name); !status) return BadAnswer(where, status.error().message);
  const std::string quoted = QuoteForeign(file.name);
  // A large file is a pointer in git; its size and hash are those in the pointer.
  const json* const lfs = Member(sibling, "lfs");
  if (lfs != nullptr && !lfs->is_object()) return BadAnswer(where, fmt::format("\"lfs\" of {} is no object", quoted));
  auto hash = lfs != nullptr ? HexOf(Member(*lfs, "sha256"), kSha256Digits, where, "the SHA-256 of " + quoted)
                             : HexOf(Member(sibling, "blobId"), kSha1Digits, where, "the hash of " + quoted);
  if (!hash) return hash.error();
  file.hash = std::move(*hash);
  const json* const size = Member(lfs != nullptr ? *lfs : sibling, "size");
  if (size == nullptr || !size->is_number_unsigned() || size->get<std::uint64_t>() > kLargestFile) {
    return BadAnswer(where, fmt::format("the size of {} is {}, want a number of bytes up to {}", quoted,
                                        size == nullptr ? "missing" : QuoteForeign(size->dump()), kLargestFile));
  }
  file.size = size->get<std::uint64_t>();
  return file;
}

// Two files of one name, or a file in the place of a folder, would overwrite each other.
Status CheckCollisions(const std::vector<RepoFile>& files, const std::string& where) {
  std::set<std::string_view> names;
  for (const RepoFile& file : files) {
    if (names.insert(file.name).second) continue;
    return BadAnswer(where, fmt::format("the file name {} appears twice", QuoteForeign(file.name)));
  }
  for (const RepoFile& file : files) {
    const std::string_view name = file.name;
    for (std::size_t slash = name.find('/'); slash != std::string_view::npos; slash = name.find('/', slash + 1)) {
      if (!names.contains(name.substr(0, slash))) continue;
      return BadAnswer(where, fmt::format("{} is a file and the folder of {}", QuoteForeign(name.substr(0, slash)),
                                          QuoteForeign(name)));
    }
  }
  return {};
}

}  // namespace

Result<RepoInfo> ParseRepoInfo(std::string_view text, const std::string& where) {
  const auto answer = ParseAnswer(text, kMaxRepoInfo, where);
  if (!answer) return answer.error();
  RepoInfo info;
  if (auto status = HexOf(Member(*answer, "sha"), kSha1Digits, where, "the commit (\"sha\")").MoveTo(info.commit);
      !status) {
    return status.error();
  }
  const json* const siblings = Member(*answer, "siblings");
  if (siblings == nullptr || !siblings->is_array())
    return BadAnswer(where, "the list of files (\"siblings\") is missing");
  if (siblings->size() > kMostFiles) {
    return BadAnswer(where, fmt::format("lists {} files, want at most {}", siblings->size(), kMostFiles));
  }
  for (const json& sibling : *siblings) {
    auto file = ParseFile(sibling, where);
    if (!file) return file.error();
    info.files.push_back(std::move(*file));
  }
  if (auto status = CheckCollisions(info.files, where); !status) return status.error();
  std::ranges::sort(info.files, {}, &RepoFile::name);
  return info;
}

Result<std::vector<std::string>> ParseShardNames(std::string_view text, const std::string& where) {
  const auto index = ParseAnswer(text, kMaxShardIndex, where);
  if (!index) return index.error();
  const json* const map = Member(*index, "weight_map");
  if (map == nullptr || !map->is_object() || map->empty())
    return BadAnswer(where, "\"weight_map\" is missing or empty");
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : map->items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    if (!name.ends_with(".safetensors") || name.find('/') != std::string::npos || !CheckFileName(name)) {
      return BadAnswer(where, fmt::format("tensor {} lies in {}, want the plain name of a .safetensors file",
                                          QuoteForeign(tensor), QuoteForeign(shard.is_string() ? name : shard.dump())));
    }
    shards.insert(name);
  }
  return std::vector<std::string>(shards.begin(), shards.end());
}

}  // namespace marlin
