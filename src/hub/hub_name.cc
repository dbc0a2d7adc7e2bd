#include "hub/hub_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace marlin {
namespace {

constexpr std::size_t kLongestPart = 96;
constexpr std::size_t kLongestRevision = 200;
constexpr std::size_t kLongestFileName = 1024;
constexpr std::size_t kLongestComponent = 200;  // endings are added to it, and most file systems end at 255

bool IsWordLetter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// The organization or the model of a name.
bool IsNamePart(std::string_view part) {
  if (part.empty() || part.size() > kLongestPart) return false;
  if (!IsWordLetter(part.front()) || !IsWordLetter(part.back())) return false;
  // The cache joins both parts by "--".
  if (part.find("--") != std::string_view::npos || part.find("..") != std::string_view::npos) return false;
  return std::ranges::all_of(part, [](char c) { return IsWordLetter(c) || c == '.' || c == '-'; });
}

// The revision becomes a path below the cache's refs.
bool IsRevision(std::string_view revision) {
  if (revision.empty() || revision.size() > kLongestRevision || revision.ends_with(".lock")) return false;
  const auto allowed = [](char c) {
    return IsWordLetter(c) || std::string_view("/.-+=,#%!").find(c) != std::string::npos;
  };
  return std::ranges::all_of(revision, allowed) && revision.find("..") == std::string_view::npos &&
         CheckFileName(revision).ok();
}

bool IsControl(unsigned char c) { return c < 0x20 || c == 0x7f; }

}  // namespace

std::string HubName::Text() const {
  return repository + (revision.empty() ? "" : "@" + revision) + (file.empty() ? "" : ":" + file);
}

bool IsRepositoryName(std::string_view word) {
  const std::size_t slash = word.find('/');
  if (slash == std::string_view::npos || word.ends_with(".git")) return false;
  return IsNamePart(word.substr(0, slash)) && IsNamePart(word.substr(slash + 1));
}

bool IsCommit(std::string_view revision) {
  return revision.size() == 40 && revision.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Result<HubName> ParseHubName(const std::string& word) {
  HubName name;
  const std::size_t end = word.find_first_of("@:");
  name.repository = word.substr(0, end);
  if (!IsRepositoryName(name.repository)) {
    return Error{ErrorCode::kUsage,
                 fmt::format("{} is not the name of a model on the Hugging Face Hub; want ORG/MODEL, "
                             "ORG/MODEL@REVISION or ORG/MODEL:FILE",
                             QuoteForeign(word))};
  }
  if (end == std::string::npos) return name;
  std::size_t colon = word.find(':', end);
  if (word[end] == '@') {
    name.revision = word.substr(end + 1, colon == std::string::npos ? colon : colon - end - 1);
    if (!IsRevision(name.revision)) {
      return Error{ErrorCode::kUsage, fmt::format("{}: {} is not a branch, a tag or a commit", QuoteForeign(word),
                                                  QuoteForeign(name.revision))};
    }
  }
  if (colon == std::string::npos) return name;
  name.file = word.substr(colon + 1);
  if (auto status = CheckFileName(name.file); !status) {
    return Error{ErrorCode::kUsage,
                 fmt::format("{}: after the colon stands no file: {}", QuoteForeign(word), status.error().message)};
  }
  return name;
}

Status CheckFileName(std::string_view name) {
  const auto bad = [&](std::string_view why) {
    return Error{ErrorCode::kInput, fmt::format("the file name {} {}", QuoteForeign(name), why)};
  };
  if (name.empty()) return bad("is empty");
  if (name.size() > kLongestFileName) return bad("is too long");
  if (name.front() == '/') return bad("is an absolute path");
  if (name.find('\\') != std::string_view::npos) return bad("holds a backslash");
  // U+0080 to U+009F are control characters too.
  for (std::size_t i = 0; i < name.size(); ++i) {
    const auto c = static_cast<unsigned char>(name[i]);
    const bool high = c == 0xc2 && i + 1 < name.size() && static_cast<unsigned char>(name[i + 1]) < 0xa0;
    if (IsControl(c) || high) return bad("holds a control character");
  }
  for (std::string_view rest = name;;) {
    const std::size_t slash = rest.find('/');
    const std::string_view component = rest.substr(0, slash);
    if (component.empty() || component == "." || component == "..")
      return bad("does not name a place below its folder");
    if (component.size() > kLongestComponent) return bad("is too long");
    if (slash == std::string_view::npos) return {};
    rest.remove_prefix(slash + 1);
  }
}

std::string QuoteForeign(std::string_view text) {
  constexpr std::size_t kMost = 120;
  const nlohmann::json value = std::string(text.substr(0, kMost));
  const std::string quoted = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  return text.size() > kMost ? quoted + "..." : quoted;
}

std::string EscapePath(std::string_view path) {
  std::string out;
  for (const char c : path) {
    if (IsWordLetter(c) || c == '-' || c == '.' || c == '~' || c == '/') {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

}  // namespace marlin
