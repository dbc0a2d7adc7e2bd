// eval: one file per command under it.

#include "cli/eval.h"

namespace marlin {

void RegisterEval(Verb parent) {
  Verb eval =
      parent.AddGroup("eval", "Measure quality",
                      "metal-marlin eval perplexity ./SmolLM2-135M-fp4-g128 --baseline ./SmolLM2-135M --samples 100");
  RegisterEvalPerplexity(eval);
  RegisterEvalDivergence(eval);
  RegisterEvalLogits(eval);
}

}  // namespace marlin
