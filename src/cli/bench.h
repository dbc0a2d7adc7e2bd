// The verbs under bench.
#pragma once

#include <nlohmann/json.hpp>

#include "bench/limits.h"
#include "cli/verb.h"

namespace marlin {

void RegisterBenchComparison(CLI::App& bench, Selection& selection);
void RegisterBenchThroughput(CLI::App& bench, Selection& selection);
void RegisterBenchKernels(CLI::App& bench, Selection& selection);

// For --json; 0 = the machine has no instructions for it.
nlohmann::json ToJson(const MachineLimits& limits);

}  // namespace marlin
