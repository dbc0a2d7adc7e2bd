#include "eval/perplexity.h"

#include <algorithm>
#include <chrono>
#include <numbers>
#include <numeric>

#include "eval/windows.h"

namespace marlin {
namespace {

double Mean(std::span<const double> sums, std::size_t per_window) {
  const double total = std::accumulate(sums.begin(), sums.end(), 0.0);
  return total / (static_cast<double>(sums.size()) * static_cast<double>(per_window));
}

// NLL of every prediction of a window: nll[i] belongs to target i + 1.
void ScoreWindow(WindowStates& states, const Model& model, MatrixView<const float> hidden,
                 std::span<const std::int32_t> window, Buffer& logits, std::span<double> nll) {
  for (std::size_t begin = 0; begin < nll.size(); begin += kHeadRows) {
    const std::size_t rows = std::min(kHeadRows, nll.size() - begin);
    const MatrixView<float> part(logits.data(), rows, model.description.vocab_size);
    states.Logits(hidden.Rows(begin, rows), part);
    model.backend->CrossEntropy(part, window.subspan(begin + 1, rows), nll.subspan(begin, rows));
  }
}

}  // namespace

double PerplexityResult::mean_nll() const { return Mean(window_nll, scored_per_window); }
double PerplexityResult::mean_nll_half() const { return Mean(window_nll_half, scored_per_window_half); }
double PerplexityResult::bits_per_byte() const {
  const double nats = std::accumulate(window_nll.begin(), window_nll.end(), 0.0);
  return nats / std::numbers::ln2 / static_cast<double>(scored_bytes);
}

Result<PerplexityResult> EvaluatePerplexity(const Model& model, const TokenStream& stream,
                                            const PerplexityOptions& options, const WindowFn& on_window,
                                            const HiddenFn& on_hidden) {
  if (auto status = CheckContext(model.description, options.ctx); !status) return status.error();
  auto result = StartResult(stream, model.description.vocab_size, options);
  if (!result) return result.error();
  const std::size_t ctx = options.ctx;
  const std::size_t windows = WindowsToScore(*result, options);
  auto states = WindowStates::Create(model, stream, options, windows);
  if (!states) return states.error();
  auto logits = model.backend->Allocate(std::min(kHeadRows, ctx) * model.description.vocab_size);
  if (!logits) return logits.error();
  const auto start = std::chrono::steady_clock::now();
  std::vector<double> nll(ctx - 1);
  std::vector<float> copy(on_hidden ? ctx * model.description.hidden_size : 0);
  for (std::size_t w = 0; w < windows; ++w) {
    const auto hidden = states->Next();
    if (!hidden) return hidden.error();
    if (on_hidden) {
      model.backend->Download(hidden->data, copy);
      if (auto status = on_hidden(copy); !status) return status.error();
    }
    ScoreWindow(*states, model, *hidden, stream.Window(w * ctx, ctx), **logits, nll);
    if (auto status = AddWindow(stream, nll, windows, *result); !status) return status.error();
    result->seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (on_window) on_window(*result, windows);
  }
  return result;
}

Result<std::vector<float>> WindowLogits(const Model& model, const TokenStream& stream, std::size_t ctx,
                                        std::size_t window) {
  const std::size_t vocab = model.description.vocab_size;
  if (auto status = CheckContext(model.description, ctx); !status) return status.error();
  if (auto status = CheckStream(stream, vocab, ctx, window + 1); !status) return status.error();
  auto session = Session::Create(model, ctx, ctx);
  if (!session) return session.error();
  auto buffer = model.backend->Allocate(ctx * vocab);
  if (!buffer) return buffer.error();
  session->Logits(session->Forward(stream.Window(window * ctx, ctx)), {(*buffer)->data(), ctx, vocab});
  std::vector<float> logits(ctx * vocab);
  model.backend->Download((*buffer)->data(), logits);
  return logits;
}

}  // namespace marlin
