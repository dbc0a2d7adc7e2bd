// The verbs under "eval".
#pragma once

#include "cli/verb.h"

namespace marlin {

void RegisterEvalDivergence(CLI::App& eval, Selection& selection);
void RegisterEvalLogits(CLI::App& eval, Selection& selection);
void RegisterEvalPerplexity(CLI::App& eval, Selection& selection);

}  // namespace marlin
