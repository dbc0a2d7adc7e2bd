// For tests: how GoogleTest prints a parameter.
#pragma once

#include <ostream>

#include "kernels/isa.h"

namespace marlin {

inline void PrintTo(const IsaLevel& level, std::ostream* out) { *out << level.name; }

}  // namespace marlin
