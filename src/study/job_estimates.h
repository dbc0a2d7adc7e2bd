// What a job of a comparison takes. From counts of operations and bytes, and the limits of a machine.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bench/limits.h"
#include "study/comparison.h"
#include "study/job_list.h"

namespace marlin {

struct JobCosts {
  double seconds = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t disk_bytes = 0;
};

// A machine of some desktop cores, for estimates that must be the same everywhere.
MachineLimits NominalLimits();

// index: of the row, of the plan of mixed precision.
JobCosts EstimateJob(JobKind kind, const ComparisonModel& model, const ComparisonOptions& options, const EvalText& text,
                     std::size_t index, const MachineLimits& limits);

}  // namespace marlin
