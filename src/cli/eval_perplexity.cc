// eval perplexity: both protocols from one pass; with a baseline the paired delta and the divergence too.

#include "cli/eval.h"
#include "cli/evaluation.h"

namespace marlin {

void RegisterEvalPerplexity(Verb eval) {
  auto options = std::make_shared<EvaluationOptions>();
  Verb verb = eval.AddVerb(
      "perplexity", "Perplexity, with its standard error; paired with a baseline, the divergence from it too",
      "metal-marlin eval perplexity ./SmolLM2-135M-fp4-g128 --baseline ./SmolLM2-135M --samples 100");
  verb.Add("--baseline", options->baseline, "A second model, run beside the first on the same windows");
  AddEvaluationOptions(verb, *options);
  verb.Runs([options](Invocation& invocation) {
    return options->baseline.empty() ? RunPerplexity(*options, invocation) : RunAgainstBaseline(*options, invocation);
  });
}

}  // namespace marlin
