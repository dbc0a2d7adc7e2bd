// Parses a Jinja template.
#pragma once

#include <string_view>

#include "base/result.h"
#include "text/jinja_ast.h"

namespace marlin::jinja {

// source: normalized and UTF-8. deepest: limit of expressions and statements in each other. Errors: kInput,
// kUnsupported, with line and column.
Result<Statements> ParseTemplate(std::string_view source, std::string_view where, int deepest);

}  // namespace marlin::jinja
