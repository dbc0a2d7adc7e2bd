// What every fuzz target is: a function that parses bytes as the program would parse a file of them, and ends the
// program (MARLIN_CHECK) when a promise of the parser is broken. It returns what the parser said.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/check.h"
#include "base/result.h"

namespace marlin {

using FuzzInput = std::span<const std::uint8_t>;

inline std::string_view FuzzText(FuzzInput input) {
  return {reinterpret_cast<const char*>(input.data()), input.size()};
}

}  // namespace marlin
