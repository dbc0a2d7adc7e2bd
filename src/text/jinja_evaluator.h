// Runs a parsed Jinja template.
#pragma once

#include "text/jinja_ast.h"
#include "text/jinja_run.h"

namespace marlin::jinja {

// What is rendered stands in the run's output afterwards, or its error. variables: a dict. `body` outlives the run.
void Evaluate(Run& run, const Statements& body, const Dict& variables);

}  // namespace marlin::jinja
