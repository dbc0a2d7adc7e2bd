// The commands under eval.
#pragma once

#include "cli/verb.h"

namespace marlin {

void RegisterEvalDivergence(Verb eval);
void RegisterEvalLogits(Verb eval);
void RegisterEvalPerplexity(Verb eval);

}  // namespace marlin
