// The plans behind the rows `mixed` and `uniform` of a comparison: made once per model and budget, stored in the work
// folder.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/progress.h"
#include "base/result.h"
#include "kernels/backend.h"
#include "quantize/precision_plan.h"
#include "records/record.h"
#include "study/comparison.h"

namespace marlin {

// The i-th plan of a model, if it was made before. Errors: those of ReadPlan where the user named the file.
Result<std::optional<PrecisionPlan>> FindPlan(const ComparisonModel& model, const ComparisonOptions& options,
                                              std::size_t i);

// Makes the i-th plan and stores it. The sensitivities are kept, for a resumed run and for other budgets. Errors: those
// of MakePlan and of writing.
Status MakePlanFor(const ComparisonModel& model, const ComparisonOptions& options, std::size_t i, Backend& backend,
                   const ProgressFn& progress);

// What names the i-th plan before it is made: its file.
std::string PlanName(const ComparisonModel& model, const ComparisonOptions& options, std::size_t i);

// "bits per weight, held-out KL": what came of a plan, for one line.
std::string Describe(const PrecisionPlan& plan);

// The single configuration that is compared with a plan: the best on its held-out windows, or where none was measured
// the one with the least sum of KLs within the budget; null when none fits.
const FormatRow* UniformOf(const PrecisionPlan& plan);

// Converts a plan to the form of a record.
record::Plan PlanRecord(const PrecisionPlan& plan);

}  // namespace marlin
