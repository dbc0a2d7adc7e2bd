// A summary of the results for the terminal and for --json.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "records/analysis.h"

namespace marlin {

// One table per model and protocol, best row marked, with a line that says what was measured. Plain text.
std::string SummaryText(const Analysis& analysis);

// The same as data; null where nothing was measured.
nlohmann::ordered_json SummaryJson(const Analysis& analysis);

}  // namespace marlin
