#include "cli/configs.h"

#include <fmt/format.h>

#include "formats/formats.h"

namespace marlin {

namespace {

// Q4_K_M and the like: the name of a mix of types, by the type that most tensors have.
std::string HintOf(std::string_view name) {
  const std::size_t end = name.rfind('_');
  const FormatRow* const row = end == std::string_view::npos ? nullptr : FindFormat(name.substr(0, end));
  if (row == nullptr) return "";
  return fmt::format(
      "; {} is a mix of types: take {} for all layers, or let `metal-marlin plan --for gguf` choose one for each", name,
      row->info.name);
}

}  // namespace

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
  return Error{ErrorCode::kUsage, fmt::format("{}{}; want one of: {}", problem, HintOf(name), ConfigNames())};
}

}  // namespace marlin
