// How far a model's predictions are from its baseline's: protocol kl-CTX, on the windows of ppl-CTX, in the same pass.
//
// For every scored position: KL(base || other) over the full vocabulary in nats, whether both find the same token most
// likely, and the change in probability of the correct token. The baseline's logits are not stored: its head is applied
// again to its final hidden states, which gives the same bits on a CPU.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/statistics.h"
#include "eval/perplexity.h"
#include "kernels/backend.h"
#include "model/model.h"

namespace marlin {

// Raised whenever the same inputs give another number.
inline constexpr int kDivergenceMetricVersion = 1;

// A baseline for the evaluation: its head, and the source of the final hidden states of a window.
struct Baseline {
  // Fills hidden [tokens, hidden], in host memory, with the states of window `window`, whose tokens these are.
  using StatesFn =
      std::function<Status(std::size_t window, std::span<const std::int32_t> tokens, std::span<float> hidden)>;
  Head head;
  Backend* backend = nullptr;  // that holds the head
  StatesFn states;
};

// A model that is run beside the evaluated one; `session` has room for a window. Both outlive the baseline.
Baseline RunningBaseline(const Model& model, Session& session);

struct DivergenceResult {
  PerplexityResult base, other;
  // Sums over the scored tokens of each window.
  std::vector<double> window_kl;              // nats
  std::vector<double> window_same_top;        // tokens that both models find most likely
  std::vector<double> window_change;          // q - p of the correct token
  std::vector<double> window_change_squared;  // (q - p)^2
  std::vector<double> token_kl;               // every scored token, in order

  // KL of what was scored so far, nats per token.
  double mean_kl() const;
};

using DivergenceFn = std::function<void(const DivergenceResult& so_far, std::size_t windows)>;

// The seconds of both perplexities are those of the common pass. Errors: as EvaluatePerplexity; kInput (the two
// vocabularies differ in size), those of baseline.states.
Result<DivergenceResult> EvaluateDivergence(const Model& model, const Baseline& baseline, const TokenStream& stream,
                                            const PerplexityOptions& options, const DivergenceFn& on_window);

// Bins of the recorded histogram of token KL: 4 per decade from 1e-12 to 100 nats.
inline constexpr double kKlHistogramLow = 1e-12;
inline constexpr std::size_t kKlHistogramDecades = 14;
inline constexpr std::size_t kKlHistogramPerDecade = 4;

struct DivergenceSummary {
  MeanEstimate kl;        // nats per token
  MeanEstimate same_top;  // share, 0..1
  double change_mean = 0;
  double change_rms = 0;
  double median = 0, p90 = 0, p99 = 0, p999 = 0, max = 0;  // of the tokens' KL
  LogHistogram histogram;                                  // of the tokens' KL
};

// At least one window.
DivergenceSummary Summarize(const DivergenceResult& result);

}  // namespace marlin
