#include "eval/divergence.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "eval/windows.h"

namespace marlin {
namespace {

double Sum(std::span<const double> values) { return std::accumulate(values.begin(), values.end(), 0.0); }

// The baseline's logits, where the evaluated model's backend can read them.
class BaselineLogits {
 public:
  static Result<BaselineLogits> Create(const Baseline& baseline, Backend& reader, std::size_t ctx) {
    BaselineLogits logits(baseline, reader, ctx);
    const std::size_t floats = std::min(kHeadRows, ctx) * baseline.head.vocab();
    const auto own =
        baseline.backend->AllocateAll({{&logits.states_, ctx * baseline.head.hidden()}, {&logits.own_, floats}});
    if (!own) return own.error();
    if (baseline.backend == &reader) return logits;
    if (auto status = reader.Allocate(floats).MoveTo(logits.copy_); !status) return status.error();
    return logits;
  }

  Status Start(std::size_t window, std::span<const std::int32_t> tokens) {
    if (auto status = baseline_.states(window, tokens, host_); !status) return status.error();
    baseline_.backend->Upload(host_, View(states_, host_.size() / baseline_.head.hidden(), baseline_.head.hidden()));
    return {};
  }

  // Positions begin .. begin + rows - 1 of the window; valid until the next call.
  // Errors: those of the baseline's device.
  Result<DeviceTensor> Rows(std::size_t begin, std::size_t rows) {
    const DeviceTensor x = View(states_, begin + rows, baseline_.head.hidden()).Rows(begin, rows);
    const DeviceTensor own = View(own_, rows, baseline_.head.vocab());
    ComputeLogits(*baseline_.backend, baseline_.head, x, own);
    if (baseline_.backend == &reader_) return own;
    std::vector<float> moved(rows * own.cols);
    if (auto status = baseline_.backend->Read(own, moved); !status) return status.error();
    const DeviceTensor copy = View(copy_, rows, own.cols);
    reader_.Upload(moved, copy);
    return copy;
  }

 private:
  BaselineLogits(const Baseline& baseline, Backend& reader, std::size_t ctx)
      : baseline_(baseline), reader_(reader), host_(ctx * baseline.head.hidden()) {}

  const Baseline& baseline_;
  Backend& reader_;
  std::vector<float> host_;         // [ctx, hidden]
  std::unique_ptr<Buffer> states_;  // the same in the baseline's memory
  std::unique_ptr<Buffer> own_;     // [kHeadRows, vocab] in the baseline's memory
  std::unique_ptr<Buffer> copy_;    // the same in the reader's, when that is another
};

// Adds one window's tokens to all sums. Errors: kNumerical.
Status AddTokens(const TokenStream& stream, std::span<const TokenDivergence> tokens, std::size_t windows,
                 DivergenceResult& result) {
  std::vector<double> base_nll, other_nll;
  double kl = 0, same_top = 0, change = 0, squared = 0;
  for (const TokenDivergence& token : tokens) {
    base_nll.push_back(token.base_nll);
    other_nll.push_back(token.other_nll);
    const double difference = std::exp(-token.other_nll) - std::exp(-token.base_nll);
    kl += token.kl;
    same_top += token.same_top;
    change += difference;
    squared += difference * difference;
    result.token_kl.push_back(token.kl);
  }
  if (auto status = AddWindow(stream, base_nll, windows, result.base); !status) {
    return Error{status.error().code, "baseline: " + status.error().message};
  }
  if (auto status = AddWindow(stream, other_nll, windows, result.other); !status) return status.error();
  if (!std::isfinite(kl)) {
    return Error{ErrorCode::kNumerical,
                 fmt::format("a logit is infinite in window {} of {}", result.other.window_nll.size(), windows)};
  }
  result.window_kl.push_back(kl);
  result.window_same_top.push_back(same_top);
  result.window_change.push_back(change);
  result.window_change_squared.push_back(squared);
  return {};
}

}  // namespace

Baseline RunningBaseline(const Model& model, Session& session) {
  Backend& backend = *model.backend;
  return {HeadOf(model.description, model.head()), &backend,
          [&session, &backend](std::size_t, std::span<const std::int32_t> tokens, std::span<float> hidden) -> Status {
            session.Reset();
            return backend.Read(session.Forward(tokens), hidden);
          }};
}

double DivergenceResult::mean_kl() const {
  return Sum(window_kl) / (static_cast<double>(window_kl.size()) * static_cast<double>(other.scored_per_window));
}

Result<DivergenceResult> EvaluateDivergence(const Model& model, const Baseline& baseline, const TokenStream& stream,
                                            const PerplexityOptions& options, const DivergenceFn& on_window) {
  const std::size_t vocab = model.description.vocab_size;
  if (baseline.head.vocab() != vocab) {
    return Error{ErrorCode::kInput, fmt::format("the baseline's vocabulary has {} tokens, the model's {}: their "
                                                "predictions cannot be compared",
                                                baseline.head.vocab(), vocab)};
  }
  if (auto status = CheckContext(model.description, options.ctx); !status) return status.error();
  auto started = StartResult(stream, vocab, options);
  if (!started) return started.error();
  DivergenceResult result;
  result.base = result.other = std::move(*started);
  const std::size_t ctx = options.ctx;
  const std::size_t windows = WindowsToScore(result.other, options);
  auto states = WindowStates::Create(model, stream, options, windows);
  if (!states) return states.error();
  Backend& backend = *model.backend;
  std::unique_ptr<Buffer> buffer, targets, results;
  const auto allocated = backend.AllocateAll({{&buffer, std::min(kHeadRows, ctx) * vocab},
                                              {&targets, ctx - 1, ElementType::kI32},
                                              {&results, (ctx - 1) * kDivergenceColumns, ElementType::kF64}});
  if (!allocated) return allocated.error();
  auto base_logits = BaselineLogits::Create(baseline, *model.backend, ctx);
  if (!base_logits) return base_logits.error();

  const auto start = std::chrono::steady_clock::now();
  std::vector<TokenDivergence> tokens(ctx - 1);
  for (std::size_t w = 0; w < windows; ++w) {
    const auto hidden = states->Next();
    if (!hidden) return hidden.error();
    const auto window = stream.Window(w * ctx, ctx);
    if (auto status = base_logits->Start(w, window); !status) return status.error();
    const DeviceTensor right = View(targets, ctx - 1, 1, ElementType::kI32);
    const DeviceTensor rows_of_tokens = View(results, ctx - 1, kDivergenceColumns, ElementType::kF64);
    backend.Upload(std::span(window).subspan(1), right);
    for (std::size_t begin = 0; begin < tokens.size(); begin += kHeadRows) {
      const std::size_t rows = std::min(kHeadRows, tokens.size() - begin);
      const DeviceTensor logits = View(buffer, rows, vocab);
      model.Logits(hidden->Rows(begin, rows), logits);
      const auto base = base_logits->Rows(begin, rows);
      if (!base) return base.error();
      backend.Divergence(*base, logits, right.Rows(begin, rows), rows_of_tokens.Rows(begin, rows));
    }
    if (auto status = backend.Read(rows_of_tokens, tokens); !status) return status.error();
    if (auto status = AddTokens(stream, tokens, windows, result); !status) return status.error();
    result.base.seconds = result.other.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (on_window) on_window(result, windows);
  }
  return result;
}

DivergenceSummary Summarize(const DivergenceResult& result) {
  const std::vector<double> counts(result.window_kl.size(), static_cast<double>(result.other.scored_per_window));
  const double tokens = Sum(counts);
  DivergenceSummary summary;
  summary.kl = EstimateMean(result.window_kl, counts);
  summary.same_top = EstimateMean(result.window_same_top, counts);
  summary.change_mean = Sum(result.window_change) / tokens;
  summary.change_rms = std::sqrt(Sum(result.window_change_squared) / tokens);
  summary.median = Quantile(result.token_kl, 0.5);
  summary.p90 = Quantile(result.token_kl, 0.9);
  summary.p99 = Quantile(result.token_kl, 0.99);
  summary.p999 = Quantile(result.token_kl, 0.999);
  summary.max = Quantile(result.token_kl, 1);
  summary.histogram = MakeLogHistogram(result.token_kl, kKlHistogramLow, kKlHistogramDecades, kKlHistogramPerDecade);
  return summary;
}

}  // namespace marlin
