// Compares what two descriptions compute.
#pragma once

#include <optional>
#include <string>

#include "model/description.h"

namespace marlin {

struct DescriptionDifference {
  std::string setting;  // "block 3: window"
  std::string first, second;
};

// The first setting in which the models differ: sizes, parts, norms, attention, positions, scales. Empty when they give
// the same function of the same tensors. Rotary frequencies count as equal within 1e-4 of each, since GGUF keeps some
// of them as rounded divisors, other real numbers within fp32 rounding. A window that holds the whole context is none.
std::optional<DescriptionDifference> FirstDifference(const Description& first, const Description& second);

}  // namespace marlin
