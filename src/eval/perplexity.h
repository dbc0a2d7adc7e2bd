// Perplexity over disjoint windows: protocols ppl-CTX and ppl-CTX-half, from one forward pass per window.
//
// The text is tokenized once and cut into windows of ctx tokens; the incomplete last window is dropped. If the
// tokenizer adds BOS, BOS is put in front of the stream and replaces token 0 of every window, as in llama.cpp.
//
//   ppl-CTX        all ctx - 1 predictions of a window
//   ppl-CTX-half   the predictions of targets ctx/2 + 1 .. ctx - 1, which llama-perplexity scores at its defaults
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "model/model.h"
#include "text/token_stream.h"

namespace marlin {

// Raised whenever the same inputs give another number.
inline constexpr int kPerplexityMetricVersion = 1;

struct PerplexityOptions {
  std::size_t ctx = 512;    // >= 4
  std::size_t samples = 0;  // first windows only; 0 = all
  std::size_t at_once = 0;  // windows that run together; results do not depend on it; 0 = automatic
};

struct PerplexityResult {
  std::size_t ctx = 0;
  std::size_t windows_total = 0;           // that the text holds
  std::size_t scored_per_window = 0;       // ctx - 1
  std::size_t scored_per_window_half = 0;  // ctx - 1 - ctx / 2
  std::vector<double> window_nll;          // sum over the window's scored tokens, nats
  std::vector<double> window_nll_half;
  std::uint64_t scored_bytes = 0;  // bytes of text behind the scored tokens of window_nll
  double seconds = 0;

  double mean_nll() const;  // nats per scored token
  double mean_nll_half() const;
  double bits_per_byte() const;  // of the tokens behind window_nll
};

// Progress of a running evaluation.
using WindowFn = std::function<void(const PerplexityResult& so_far, std::size_t windows)>;

// Receives the final hidden states of the next window, [ctx, hidden].
using HiddenFn = std::function<Status(std::span<const float> hidden)>;

// on_window and on_hidden may be empty. Errors: kInput (fewer tokens than one window, token beyond the vocabulary),
// kResource, kNumerical (NaN; names the window), kInterrupted, those of on_hidden.
Result<PerplexityResult> EvaluatePerplexity(const Model& model, const TokenStream& stream,
                                            const PerplexityOptions& options, const WindowFn& on_window,
                                            const HiddenFn& on_hidden = {});

// Logits [ctx, vocab] of window `window` (from 0), as the evaluation sees it. Errors: as EvaluatePerplexity.
Result<std::vector<float>> WindowLogits(const Model& model, const TokenStream& stream, std::size_t ctx,
                                        std::size_t window);

}  // namespace marlin
