// eval: one file per verb under it.

#include "cli/eval.h"

namespace marlin {

void RegisterEval(Verb parent) {
  Verb eval = parent.AddGroup("eval", "Measure quality");
  RegisterEvalPerplexity(eval);
  RegisterEvalDivergence(eval);
  RegisterEvalLogits(eval);
}

}  // namespace marlin
