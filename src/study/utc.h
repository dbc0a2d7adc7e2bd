// The current time in the notation of records.
#pragma once

#include <string>

namespace marlin {

// "2025-01-31T23:59:59Z"
std::string UtcNow();

}  // namespace marlin
