#include "cli/configs.h"

#include <fmt/format.h>

#include "formats/formats.h"

namespace marlin {

std::string ConfigNames() {
  std::string names;
  for (const FormatRow& row : Formats()) {
    if (row.info.group > 0) names += fmt::format("{}{}", names.empty() ? "" : ", ", row.info.name);
  }
  return names;
}

Result<const FormatRow*> ParseConfig(std::string_view name) {
  const FormatRow* row = FindFormat(name);
  if (row != nullptr && row->info.group > 0) return row;
  const std::string problem = row == nullptr ? fmt::format("no configuration is called \"{}\"", name)
                                             : fmt::format("{} is not a quantization", name);
  return Error{ErrorCode::kUsage, fmt::format("{}; want one of: {}", problem, ConfigNames())};
}

}  // namespace marlin
