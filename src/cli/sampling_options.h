// The options of generate that choose tokens.
#pragma once

#include <cstddef>
#include <optional>

#include "base/result.h"
#include "cli/verb.h"
#include "model/sampling.h"

namespace marlin {

struct SamplingArguments {
  std::optional<double> temperature, top_p, min_p;
  std::size_t top_k = 0;
  std::size_t seed = 1;
  std::vector<Option> without_effect;  // at temperature 0
};

void AddSamplingOptions(Verb& verb, SamplingArguments& arguments);

// Errors: kUsage (an option that has no effect at temperature 0).
Result<SamplingOptions> SamplingOf(const SamplingArguments& arguments);

}  // namespace marlin
