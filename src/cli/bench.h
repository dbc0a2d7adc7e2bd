// The verbs under bench.
#pragma once

#include "cli/verb.h"

namespace marlin {

void RegisterBenchComparison(CLI::App& bench, Selection& selection);
void RegisterBenchThroughput(CLI::App& bench, Selection& selection);
void RegisterBenchKernels(CLI::App& bench, Selection& selection);

}  // namespace marlin
