#include "cli/sampling_options.h"

#include <algorithm>

namespace marlin {

void AddSamplingOptions(Verb& verb, SamplingArguments& arguments) {
  verb.Add("--temperature", arguments.temperature,
           "Draw tokens with probabilities at this temperature; 0, the default, takes the most likely token")
      .Between(0, 1000);
  arguments.without_effect = {
      verb.Add("--top-k", arguments.top_k, "Draw among the K most likely tokens; 0 = all").Between(0, 1 << 30),
      verb.Add("--top-p", arguments.top_p,
               "Draw among the most likely tokens that together have this probability; 1 = all")
          .Between(1e-9, 1),
      verb.Add("--min-p", arguments.min_p,
               "Draw among tokens with at least this share of the largest probability; 0 = all")
          .Between(0, 1),
      verb.Add("--seed", arguments.seed, "Seed of the draws: the same seed repeats a text").Between(0, 9e15)};
}

Result<SamplingOptions> SamplingOf(const SamplingArguments& arguments) {
  SamplingOptions options;
  options.temperature = arguments.temperature.value_or(0);
  options.top_k = arguments.top_k;
  options.top_p = arguments.top_p.value_or(1);
  options.min_p = arguments.min_p.value_or(0);
  options.seed = arguments.seed;
  const bool given =
      std::ranges::any_of(arguments.without_effect, [](const Option& option) { return option.IsGiven(); });
  if (given && options.temperature == 0) {
    return Error{ErrorCode::kUsage,
                 "--top-k, --top-p, --min-p and --seed change nothing without --temperature: the most "
                 "likely token is taken; add --temperature 1, or another above 0"};
  }
  return options;
}

}  // namespace marlin
