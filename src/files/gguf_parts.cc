#include "files/gguf_parts.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include "base/open_file.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

// "NAME-00002-of-00003" in its pieces.
struct PartName {
  std::string stem;
  std::size_t number = 0, count = 0;

  std::string Of(std::size_t part) const { return fmt::format("{}-{:05}-of-{:05}.gguf", stem, part, count); }
};

std::optional<std::size_t> FiveDigits(std::string_view text) {
  std::size_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.size() != 5 || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return {};
  return value;
}

std::optional<PartName> ParsePartName(const fs::path& path) {
  constexpr std::string_view kOf = "-of-";
  constexpr std::size_t kDigits = 5;
  constexpr std::size_t kEnding = 1 + kDigits + kOf.size() + kDigits;  // "-00002-of-00003"
  const std::string name = path.stem().string();
  if (path.extension() != ".gguf" || name.size() <= kEnding) return {};
  const std::string_view ending = std::string_view(name).substr(name.size() - kEnding);
  const auto number = FiveDigits(ending.substr(1, kDigits));
  const auto count = FiveDigits(ending.substr(kEnding - kDigits));
  if (ending[0] != '-' || ending.substr(1 + kDigits, kOf.size()) != kOf || !number || !count) return {};
  return PartName{name.substr(0, name.size() - kEnding), *number, *count};
}

Error BadPart(const fs::path& path, const std::string& what) {
  return {ErrorCode::kInput, fmt::format("{}: {}", path.string(), what)};
}

// A number of the split; 0 where it is absent.
Result<std::size_t> SplitNumber(const GgufFile& gguf, std::string_view key) {
  const auto value = gguf.Find<std::int64_t>(key);
  if (!value) return value.error();
  if (*value == nullptr) return std::size_t{0};
  if (**value < 0) return BadPart(gguf.file.path(), fmt::format("metadata \"{}\" is {}, want a count", key, **value));
  return static_cast<std::size_t>(**value);
}

Result<GgufFile> OpenPart(const fs::path& path, const PartName& name, std::size_t number) {
  const fs::path part = path.parent_path() / name.Of(number);
  const auto kind = KindOf(part);
  if (!kind) return kind.error();
  if (*kind == PathKind::kNothing) {
    return BadPart(part, fmt::format("this part of the model is missing; it has {} parts", name.count));
  }
  auto gguf = GgufFile::Open(part);
  if (!gguf) return gguf;
  const auto count = SplitNumber(*gguf, "split.count");
  if (!count) return count.error();
  const auto index = SplitNumber(*gguf, "split.no");
  if (!index) return index.error();
  if (*count == name.count && *index + 1 == number) return gguf;
  return BadPart(part, fmt::format("this file says that it is part {} of {}, and its name says {} of {}", *index + 1,
                                   *count, number, name.count));
}

Status CheckTensorCount(const GgufFile& all) {
  const auto wanted = SplitNumber(all, "split.tensors.count");
  if (!wanted) return wanted.error();
  if (*wanted == 0 || *wanted == all.tensors.size()) return {};
  return BadPart(all.file.path(), fmt::format("the parts hold {} tensors, want {}", all.tensors.size(), *wanted));
}

}  // namespace

Result<GgufParts> OpenGgufParts(const fs::path& path) {
  auto asked = GgufFile::Open(path);
  if (!asked) return asked.error();
  const auto count = SplitNumber(*asked, "split.count");
  if (!count) return count.error();
  if (*count <= 1) return GgufParts{*std::move(asked), {}};
  const auto name = ParsePartName(path);
  if (!name || name->count != *count) {
    return BadPart(path, fmt::format("this is one of {} parts of a model; want a name such as {}", *count,
                                     PartName{GgufModelName(path), 1, *count}.Of(1)));
  }
  auto first = OpenPart(path, *name, 1);
  if (!first) return first.error();
  GgufParts parts{*std::move(first), {}};
  for (std::size_t number = 2; number <= name->count; ++number) {
    auto part = OpenPart(path, *name, number);
    if (!part) return part.error();
    for (Tensor& tensor : part->tensors) parts.first.tensors.push_back(std::move(tensor));
    parts.others.push_back(*std::move(part));
  }
  if (auto status = CheckTensorCount(parts.first); !status) return status.error();
  return parts;
}

fs::path GgufPartPath(const fs::path& path, std::size_t number, std::size_t count) {
  return path.parent_path() / PartName{path.stem().string(), 1, count}.Of(number);
}

std::string GgufModelName(const fs::path& path) {
  const auto part = ParsePartName(path);
  return part ? part->stem : path.stem().string();
}

}  // namespace marlin
