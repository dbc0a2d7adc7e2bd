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

// What a model needs on its device to score windows.
class WindowScorer {
 public:
  static Result<WindowScorer> Create(const Model& model, std::size_t ctx) {
    WindowScorer scorer(model);
    const auto allocated =
        model.backend->AllocateAll({{&scorer.logits_, std::min(kHeadRows, ctx) * model.description.vocab_size},
                                    {&scorer.targets_, ctx - 1, ElementType::kI32},
                                    {&scorer.nll_, ctx - 1, ElementType::kF64}});
    if (!allocated) return allocated.error();
    return scorer;
  }

  // Queues the NLL of every prediction of a window: nll[i] belongs to target i + 1.
  void Score(const DeviceTensor& hidden, std::span<const std::int32_t> window, std::span<double> nll) const {
    Backend& backend = *model_->backend;
    const DeviceTensor targets = View(targets_, nll.size(), 1, ElementType::kI32);
    const DeviceTensor results = View(nll_, nll.size(), 1, ElementType::kF64);
    backend.Upload(window.subspan(1), targets);
    for (std::size_t begin = 0; begin < nll.size(); begin += kHeadRows) {
      const std::size_t rows = std::min(kHeadRows, nll.size() - begin);
      const DeviceTensor part = View(logits_, rows, model_->description.vocab_size);
      model_->Logits(hidden.Rows(begin, rows), part);
      backend.CrossEntropy(part, targets.Rows(begin, rows), results.Rows(begin, rows));
    }
    backend.Download(results, nll);
  }

 private:
  explicit WindowScorer(const Model& model) : model_(&model) {}
  const Model* model_;
  std::unique_ptr<Buffer> logits_, targets_, nll_;
};

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
  auto scorer = WindowScorer::Create(model, ctx);
  if (!scorer) return scorer.error();
  const auto start = std::chrono::steady_clock::now();
  std::vector<double> nll(ctx - 1);
  std::vector<float> copy(on_hidden ? ctx * model.description.hidden_size : 0);
  for (std::size_t w = 0; w < windows; ++w) {
    const auto hidden = states->Next();
    if (!hidden) return hidden.error();
    if (on_hidden) model.backend->Download(*hidden, copy);
    scorer->Score(*hidden, stream.Window(w * ctx, ctx), nll);
    if (auto status = model.backend->Synchronize(); !status) return status.error();
    if (on_hidden) {
      if (auto status = on_hidden(copy); !status) return status.error();
    }
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
  const DeviceTensor rows = View(*buffer, ctx, vocab);
  model.Logits(session->Forward(stream.Window(window * ctx, ctx)), rows);
  std::vector<float> logits(ctx * vocab);
  if (auto status = model.backend->Read(rows, logits); !status) return status.error();
  return logits;
}

}  // namespace marlin
