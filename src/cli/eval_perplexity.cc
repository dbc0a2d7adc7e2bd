// eval perplexity: both protocols from one pass; with a baseline the paired delta and the divergence too.

#include "cli/eval.h"
#include "cli/evaluation.h"

namespace marlin {

void RegisterEvalPerplexity(CLI::App& eval, Selection& selection) {
  auto options = std::make_shared<EvaluationOptions>();
  CLI::App* app =
      AddVerb(eval, selection, "perplexity",
              "Perplexity, with its standard error; paired with a baseline, the divergence from it too",
              "metal-marlin eval perplexity ./SmolLM2-135M-fp4-g128 --baseline ./SmolLM2-135M --samples 100");
  app->add_option("--baseline", options->baseline, "A second model, run beside the first on the same windows");
  AddEvaluationOptions(*app, *options);
  app->callback([&selection, options] {
    selection.run = [options](Invocation& invocation) {
      return options->baseline.empty() ? RunPerplexity(*options, invocation) : RunAgainstBaseline(*options, invocation);
    };
  });
}

}  // namespace marlin
