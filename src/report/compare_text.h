// A comparison of two folders of records as text for the terminal, as JSON, and as sentences about its limits.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "records/compare.h"

namespace marlin {

// Tables for the terminal, and the same as data.
std::string CompareText(const Comparison& comparison);
nlohmann::ordered_json CompareJson(const Comparison& comparison);

// A sentence for each row and limit that it exceeds; for each reason why limits do not cover all of A; for each limit
// that some rows were not held against. They name limits by the options of the command.
std::vector<std::string> ExceededLimits(const Comparison& comparison);
std::vector<std::string> UntestedLimits(const Comparison& comparison);
std::vector<std::string> PartlyTestedLimits(const Comparison& comparison);

}  // namespace marlin
