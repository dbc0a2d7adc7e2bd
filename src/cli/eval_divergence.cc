// eval divergence: how far a model's predictions lie from its baseline's, and how much of that kernels alone would
// cause.

#include "cli/eval.h"
#include "cli/evaluation.h"

namespace marlin {

void RegisterEvalDivergence(Verb eval) {
  auto options = std::make_shared<EvaluationOptions>();
  Verb verb = eval.AddVerb(
      "divergence", "KL divergence of the predictions from a baseline's, same top-1, change of probability",
      "metal-marlin eval divergence ./SmolLM2-135M-fp4-g128 --baseline ./SmolLM2-135M --samples 100");
  verb.Add("--baseline", options->baseline, "The model to diverge from, run beside the first").Required();
  AddEvaluationOptions(verb, *options);
  options->floor_windows = 1;
  verb.Add("--floor-windows", options->floor_windows,
           "Windows on which the baseline is compared with itself on other kernels, the noise floor; 0 = none")
      .Between(0, 1 << 30);
  verb.Runs([options](Invocation& invocation) { return RunAgainstBaseline(*options, invocation); });
}

}  // namespace marlin
