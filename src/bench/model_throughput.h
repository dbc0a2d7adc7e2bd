// Tokens per second of whole models: prefill of a window and decode of one token, batch 1.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "bench/timing.h"
#include "model/model.h"

namespace marlin {

struct ModelTiming {
  std::size_t prefill_tokens = 0;
  std::size_t decode_prompt = 0;   // tokens in the cache before the timed one
  std::vector<double> prefill_ns;  // per iteration: all prefill_tokens, and the logits of the last
  std::vector<double> decode_ns;   // per iteration: one token and its logits
};

// The models take turns (A B C A B C ...), first in prefill, then in decode, each with its own rounds. tokens: at least
// 2; the same for all. Errors: kResource, kInterrupted.
Result<std::vector<ModelTiming>> TimeModels(std::span<const Model* const> models, const TimingPlan& plan,
                                            std::size_t tokens, const ProgressFn& progress);

}  // namespace marlin
