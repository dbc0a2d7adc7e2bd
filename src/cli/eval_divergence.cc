// eval divergence: how far a model's predictions are from its baseline's, and the noise floor of the kernels.

#include "cli/eval.h"
#include "cli/evaluation.h"

namespace marlin {

void RegisterEvalDivergence(Verb eval) {
  auto options = std::make_shared<EvaluationOptions>();
  Verb verb = eval.AddVerb(
      "divergence", "Measure how far the predictions are from a baseline's: KL, same top-1, change of probability",
      "metal-marlin eval divergence ./SmolLM2-135M-fp4-g128 --baseline ./SmolLM2-135M --samples 100");
  verb.Add("--baseline", options->baseline, "Baseline model, evaluated on the same windows").Required();
  AddEvaluationOptions(verb, *options);
  options->floor_windows = 1;
  verb.Add("--floor-windows", options->floor_windows,
           "Windows for the noise floor, the KL of the baseline from itself with other kernels; 0 = none")
      .Between(0, 1 << 30);
  verb.Runs([options](Invocation& invocation) { return RunAgainstBaseline(*options, invocation); });
}

}  // namespace marlin
