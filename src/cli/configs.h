// Configurations by name, for the commands that quantize: formats with groups only.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "formats/format.h"

namespace marlin {

// "fp4-g32, fp4-g64, ...": what ParseConfig takes.
std::string ConfigNames();

// Errors: kUsage (unknown, or a 16- or 32-bit format), with the names that are taken.
Result<const FormatRow*> ParseConfig(std::string_view name);

}  // namespace marlin
