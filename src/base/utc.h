// Times in the notation of records.
#pragma once

#include <ctime>
#include <string>

namespace marlin {

// "2025-01-31T23:59:59Z". `seconds`: since 1970, in years of four digits.
std::string UtcOf(std::time_t seconds);
std::string UtcNow();

}  // namespace marlin
