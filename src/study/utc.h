// The present moment as records spell it.
#pragma once

#include <string>

namespace marlin {

// "2025-01-31T23:59:59Z"
std::string UtcNow();

}  // namespace marlin
