#include "files/sums_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "base/sha256.h"

namespace marlin {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kHashDigits = 64;
constexpr std::size_t kMaxSums = std::size_t{1} << 22;  // bytes

Error CannotRead(const fs::path& folder, const std::error_code& code) {
  return {ErrorCode::kInput, fmt::format("cannot read {}: {}", folder.string(), code.message())};
}

// visit(name, is it a regular file) for what lies in a folder, until it returns false.
template <class Visit>
std::error_code WalkFolder(const fs::path& folder, Visit visit) {
  std::error_code code;
  fs::directory_iterator entry(folder, code);
  for (; !code && entry != fs::directory_iterator(); entry.increment(code)) {
    std::error_code ignored;
    if (!visit(entry->path().filename().string(), entry->is_regular_file(ignored))) break;
  }
  return code;
}

bool IsHash(std::string_view text) {
  return text.size() == kHashDigits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Exactly "HASH  NAME\n" per line, names plain and in strictly rising order, as WriteSums writes them; "\r\n", which
// some tools make of "\n", changes no hash. Anything else is damage.
Result<FileHashes> ParseSums(const fs::path& path, std::string_view text) {
  FileHashes sums;
  for (std::size_t line = 1; !text.empty(); ++line) {
    const std::size_t end = text.find('\n');
    std::string_view row = text.substr(0, end);
    if (row.ends_with('\r')) row.remove_suffix(1);
    if (end == std::string_view::npos || row.size() < kHashDigits + 3 || !IsHash(row.substr(0, kHashDigits)) ||
        row.substr(kHashDigits, 2) != "  ") {
      return Damaged(path, fmt::format("line {} is not a hash, two spaces and a file name", line));
    }
    const std::string name(row.substr(kHashDigits + 2));
    if (name.find_first_of(std::string_view("/\0", 2)) != std::string::npos ||
        (!sums.empty() && name <= sums.rbegin()->first)) {
      return Damaged(path, fmt::format("line {} has a file name with a slash, or out of order", line));
    }
    sums[name] = row.substr(0, kHashDigits);
    text.remove_prefix(end + 1);
  }
  return sums;
}

}  // namespace

Error Damaged(const fs::path& path, const std::string& what) {
  return {ErrorCode::kCorrupt,
          fmt::format("{}: {}; the file is damaged, make or download it again", path.string(), what)};
}

Result<std::vector<std::string>> ListFiles(const fs::path& folder) {
  std::vector<std::string> names;
  const std::error_code code = WalkFolder(folder, [&](std::string name, bool is_file) {
    if (is_file && name != kSumsFile) names.push_back(std::move(name));
    return true;
  });
  if (code) return CannotRead(folder, code);
  std::sort(names.begin(), names.end());
  return names;
}

Result<FileHashes> ReadSums(const fs::path& folder) {
  const fs::path path = folder / kSumsFile;
  const auto text = ReadFile(path, kMaxSums);
  if (!text) return text.error();
  return ParseSums(path, *text);
}

Result<std::string> FirstUnlisted(const fs::path& folder) {
  const auto sums = ReadSums(folder);
  std::string unlisted;
  const std::error_code code = WalkFolder(folder, [&](const std::string& name, bool is_file) {
    const bool listed = is_file && (name == kSumsFile || (sums && sums->contains(name)));
    if (!listed) unlisted = name;
    return listed;
  });
  if (code) return CannotRead(folder, code);
  return unlisted;
}

Status WriteSums(const fs::path& folder) {
  const auto names = ListFiles(folder);
  if (!names) return names.error();
  std::string text;
  for (const std::string& name : *names) {
    const auto hash = Sha256OfFile(folder / name);
    if (!hash) return hash.error();
    text += fmt::format("{}  {}\n", *hash, name);
  }
  return WriteFileAtomic(folder / kSumsFile, text);
}

}  // namespace marlin
