// The plans behind the rows `mixed` and `uniform` of a comparison: made once per model and budget, stored in the work
// folder.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "kernels/backend.h"
#include "quantize/precision_plan.h"
#include "records/record.h"
#include "study/make_plan.h"
#include "text/eval_text.h"

namespace marlin {

struct MixedRequest {
  std::vector<PlanOptions> budgets;  // kind, value, method, program, command; the rest is filled in
  std::filesystem::path file;        // a plan to follow instead; empty = none
  std::filesystem::path work;
  std::vector<std::string> accept_unknown;
  const EvalText* text = nullptr;  // for the sensitivities; may be null with a file
  std::size_t ctx = 0;
  std::size_t windows = kPlanWindows;  // that are measured on; kHeldOutPerWindow times as many confirm
};

// One plan per budget. Without a backend only those that were made before: the others are null. Errors: those of
// opening the model, of MakePlan and of ReadPlan.
Result<std::vector<std::optional<PrecisionPlan>>> FindPlans(const std::filesystem::path& model,
                                                            const MixedRequest& request, Backend* backend,
                                                            const ProgressFn& progress,
                                                            const std::function<void(const std::string&)>& say);

// The single configuration that is compared with a plan: the best on its held-out windows, or where none was measured
// the one with the least sum of KLs within the budget; null when none fits.
const FormatRow* UniformOf(const PrecisionPlan& plan);

// Converts a plan to the form of a record.
record::Plan PlanRecord(const PrecisionPlan& plan);

}  // namespace marlin
