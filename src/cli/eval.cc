// eval: one file per verb under it.

#include "cli/eval.h"

namespace marlin {

void RegisterEval(CLI::App& parent, Selection& selection) {
  CLI::App* eval = parent.add_subcommand("eval", "Measure quality");
  eval->require_subcommand(1);
  RegisterEvalPerplexity(*eval, selection);
  RegisterEvalDivergence(*eval, selection);
  RegisterEvalLogits(*eval, selection);
}

}  // namespace marlin
