// The commands under bench.
#pragma once

#include <nlohmann/json.hpp>

#include "bench/limits.h"
#include "cli/verb.h"

namespace marlin {

void RegisterBenchComparison(Verb bench);
void RegisterBenchThroughput(Verb bench);
void RegisterBenchKernels(Verb bench);

// Whether other programs ran in the last minute, which slows timings. If so, it also warns.
bool WarnOfLoad(Console& console);

// A warning where ThreadsLackCores.
void WarnOfFewCores(const MachineLimits& limits, int threads, Console& console);

// For --json: version, commit, processor and threads.
nlohmann::json DescribeRun(int threads);

// For --json; 0 = the machine has no instructions for it.
nlohmann::json ToJson(const MachineLimits& limits);

}  // namespace marlin
