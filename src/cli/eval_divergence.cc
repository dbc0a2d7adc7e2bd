// eval divergence: how far a model's predictions lie from its baseline's, and how much of that kernels alone would
// cause.

#include "cli/eval.h"
#include "cli/evaluation.h"

namespace marlin {

void RegisterEvalDivergence(CLI::App& eval, Selection& selection) {
  auto options = std::make_shared<EvaluationOptions>();
  CLI::App* app =
      AddVerb(eval, selection, "divergence",
              "KL divergence of the predictions from a baseline's, same top-1, change of probability",
              "metal-marlin eval divergence ./SmolLM2-135M-fp4-g128 --baseline ./SmolLM2-135M --samples 100");
  app->add_option("--baseline", options->baseline, "The model to diverge from, run beside the first")->required();
  AddEvaluationOptions(*app, *options);
  options->floor_windows = 1;
  app->add_option("--floor-windows", options->floor_windows,
                  "Windows on which the baseline is compared with itself on other kernels, the noise floor; 0 = none")
      ->check(CLI::Range(0, 1 << 30));
  app->callback([&selection, options] {
    selection.run = [options](Invocation& invocation) { return RunAgainstBaseline(*options, invocation); };
  });
}

}  // namespace marlin
