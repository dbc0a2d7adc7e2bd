// Chooses the format of each unit of a plan: a multiple-choice knapsack, solved exactly. It minimizes the sum of the
// losses within a number of bytes, or the bytes within a sum of losses.
//
// The linear relaxation gives the price of a byte, a lower bound and a first solution. A dynamic program over the units
// then keeps the partial sums that no other dominates and that the bound does not exclude (Pisinger 1995, "A minimal
// algorithm for the multiple-choice knapsack problem").
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace marlin {

struct PlanChoice {
  std::uint64_t bytes = 0;  // below 2^53 summed over the units
  double loss = 0;          // finite, not negative
};
using PlanChoices = std::vector<PlanChoice>;  // at least one

// Index of the choice of each unit. Among solutions of equal value any; the same input gives the same one. Errors:
// kUsage (nothing fits: says the least there is).
Result<std::vector<std::size_t>> LeastLoss(std::span<const PlanChoices> units, std::uint64_t most_bytes);
Result<std::vector<std::size_t>> LeastBytes(std::span<const PlanChoices> units, double most_loss);

}  // namespace marlin
