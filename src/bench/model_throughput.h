// Tokens per second of models at batch 1: prefill of a window and decode of one token by the report's protocol, or runs
// counted as llama-bench does.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
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
  std::string step_kernel;         // Session::step_kernel
};

// The models are timed interleaved (A B C A B C ...), first in prefill, then in decode, each with its own rounds.
// tokens: at least 2; the same for all. Errors: kResource, kInterrupted.
Result<std::vector<ModelTiming>> TimeModels(std::span<const Model* const> models, const TimingPlan& plan,
                                            std::size_t tokens, const ProgressFn& progress);

// Counted as llama-bench does: ppN takes a prompt of N tokens into an empty cache and computes the logits of the last;
// tgN takes N tokens one by one from an empty cache on and computes the logits of each. 0 = not timed.
struct RunLengths {
  std::size_t prompt = 512;
  std::size_t generate = 128;
  std::size_t repetitions = 5;
};

// One sample per repetition; empty where the length is 0.
struct RunTimes {
  std::vector<double> prompt_ns;
  std::vector<double> generate_ns;
  std::string step_kernel;  // Session::step_kernel
};

struct AllRunTimes {
  std::vector<RunTimes> models;
  std::vector<double> beside_ns;
};

// Every test of every model runs once untimed. Then the models are timed interleaved, first in pp, then in tg.
// `beside`, if given, is interleaved in tg too. At least one length is above 0. Errors: kResource, kInterrupted.
Result<AllRunTimes> TimeRuns(std::span<const Model* const> models, const RunLengths& lengths,
                             const std::function<void()>& beside, const ProgressFn& progress);

// Of the rates of single runs. At least one sample.
struct TokenRate {
  double mean_tok_s = 0;
  std::optional<double> deviation_tok_s;  // n - 1; of one there is none
  double median_tok_s = 0;
};
TokenRate RateOf(std::size_t tokens, std::span<const double> samples_ns);

}  // namespace marlin
