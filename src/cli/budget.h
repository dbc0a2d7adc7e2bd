// Parses the budget of a mixed plan, bits per weight or bytes, and other sizes in bytes.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "quantize/precision_plan.h"

namespace marlin {

struct Budget {
  BudgetKind kind = BudgetKind::kBitsPerWeight;
  double value = 0;
};

// "4.25bpw": bits per weight of the linear layers. Sizes as below: tensors of the whole model. Errors: kUsage.
Result<Budget> ParseBudget(const std::string& text);

// "900MB", "1.2GB", "640kB", "5000000B": powers of ten; "1.5GiB", "512MiB", "64KiB": powers of two. Errors: kUsage,
// with `what` the size is of.
Result<std::uint64_t> ParseBytes(const std::string& text, const std::string& what);

// "4.25 bits per weight", "900.0 MB of tensors", "at most 0.02 nats per token"
std::string DescribeBudget(const PlanBudget& budget);

}  // namespace marlin
