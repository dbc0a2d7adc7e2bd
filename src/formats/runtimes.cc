#include "formats/runtimes.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "formats/formats.h"

namespace marlin {

Result<const Runtime*> ParseRuntime(std::string_view name) {
  std::string known;
  for (const Runtime& runtime : kRuntimes) {
    if (runtime.name == name) return &runtime;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", runtime.name);
  }
  return Error{ErrorCode::kUsage, fmt::format("no runtime is called \"{}\"; want one of: {}", name, known)};
}

std::vector<const FormatRow*> FormatsOf(std::string_view names) {
  std::vector<const FormatRow*> formats;
  while (!names.empty()) {
    const std::size_t end = std::min(names.find(' '), names.size());
    const FormatRow* const format = FindFormat(names.substr(0, end));
    MARLIN_CHECK(format != nullptr, "a runtime runs formats of the list");
    formats.push_back(format);
    names.remove_prefix(std::min(end + 1, names.size()));
  }
  return formats;
}

const HeldFormat* FindHeld(const Runtime& runtime, const FormatInfo& format) {
  const auto found = std::ranges::find(runtime.formats, format.name, &HeldFormat::format);
  return found == runtime.formats.end() ? nullptr : &*found;
}

std::size_t BlockOf(const HeldFormat& stored, const FormatInfo& format) {
  if (stored.block > 0) return stored.block;
  return static_cast<std::size_t>(std::max(format.group, format.block));
}

bool RunsRows(const Runtime& runtime, const FormatInfo& format, std::size_t cols) {
  const HeldFormat* const stored = FindHeld(runtime, format);
  return stored != nullptr && cols % BlockOf(*stored, format) == 0 && cols % runtime.row_multiple == 0;
}

}  // namespace marlin
