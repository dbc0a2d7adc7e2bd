// JSON formatted for people and diffs: one field per line in objects, lists of plain values in filled lines.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>

namespace marlin {

// Ends with a newline. Text that is not UTF-8 is written with replacement characters.
std::string FormatJson(const nlohmann::ordered_json& json);

}  // namespace marlin
