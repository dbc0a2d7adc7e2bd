// Parses the budget of a mixed plan: bits per weight or bytes.
#pragma once

#include <string>

#include "base/result.h"
#include "quantize/precision_plan.h"

namespace marlin {

struct Budget {
  BudgetKind kind = BudgetKind::kBitsPerWeight;
  double value = 0;
};

// "4.25bpw": bits per weight of the linear layers. "900MB", "1.2GB", "640kB", "5000000B": tensors of the whole model,
// powers of ten. Errors: kUsage.
Result<Budget> ParseBudget(const std::string& text);

// "4.25 bits per weight", "900.0 MB of tensors", "at most 0.02 nats per token"
std::string DescribeBudget(const PlanBudget& budget);

}  // namespace marlin
