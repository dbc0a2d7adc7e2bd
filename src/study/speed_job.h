// The job that measures the speeds of one model's rows: peak memory, throughput interleaved over the rows, kernels.
#pragma once

#include "base/result.h"
#include "study/comparison.h"

namespace marlin {

// Every stage writes its result to the row's record in the work folder; a run that was interrupted continues with the
// first stage that is missing. Complete records move to the results folder. Rows are quantized again where their models
// are gone. Errors: those of quantizing, loading and timing.
Status RunSpeedJob(const ComparisonModel& model, const ComparisonOptions& options, const ComparisonTools& tools);

}  // namespace marlin
