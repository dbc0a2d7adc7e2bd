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

bool Runs(const Runtime& runtime, const FormatInfo& format) {
  return std::ranges::any_of(FormatsOf(runtime.formats),
                             [&](const FormatRow* row) { return row->info.name == format.name; });
}

bool RunsRows(const Runtime& runtime, const FormatInfo& format, std::size_t cols) {
  if (!Runs(runtime, format) || format.group == 0) return false;
  const auto group = static_cast<std::size_t>(format.group);
  const std::size_t block = runtime.most_block == 0 ? group : std::min(group, runtime.most_block);
  return cols % block == 0 && cols % runtime.row_multiple == 0;
}

}  // namespace marlin
