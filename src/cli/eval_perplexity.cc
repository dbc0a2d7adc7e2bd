// eval perplexity: both protocols from one pass; with a baseline also the paired delta and the divergence.

#include "cli/eval.h"
#include "cli/evaluation.h"

namespace marlin {

void RegisterEvalPerplexity(Verb eval) {
  auto options = std::make_shared<EvaluationOptions>();
  Verb verb = eval.AddVerb(
      "perplexity",
      "Measure perplexity with its standard error; with --baseline also the paired delta and the divergence",
      "metal-marlin eval perplexity ./SmolLM2-135M-fp4-g128 --baseline ./SmolLM2-135M --samples 100");
  verb.Add("--baseline", options->baseline, "Baseline model, evaluated on the same windows");
  AddEvaluationOptions(verb, *options);
  verb.Runs([options](Invocation& invocation) {
    return options->baseline.empty() ? RunPerplexity(*options, invocation) : RunAgainstBaseline(*options, invocation);
  });
}

}  // namespace marlin
