#include "eval/perplexity.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>
#include <numeric>

namespace marlin {
namespace {

// Logits exist for this many positions at a time: 128 x 152,000 floats are 78 MB.
constexpr std::size_t kHeadRows = 128;

double Mean(std::span<const double> sums, std::size_t per_window) {
  const double total = std::accumulate(sums.begin(), sums.end(), 0.0);
  return total / (static_cast<double>(sums.size()) * static_cast<double>(per_window));
}

// NLL of every prediction of a window: nll[i] belongs to target i + 1.
void ScoreWindow(Session& session, const Model& model, std::span<const std::int32_t> window, Buffer& logits,
                 std::span<double> nll) {
  const std::size_t vocab = model.config.vocab_size;
  session.Reset();
  const MatrixView<const float> hidden = session.Forward(window);
  for (std::size_t begin = 0; begin < nll.size(); begin += kHeadRows) {
    const std::size_t rows = std::min(kHeadRows, nll.size() - begin);
    const MatrixView<float> part(logits.data(), rows, vocab);
    session.Logits(hidden.Rows(begin, rows), part);
    model.backend->CrossEntropy(part, window.subspan(begin + 1, rows), nll.subspan(begin, rows));
  }
}

// Tokens of window `index`, BOS in its place.
std::vector<std::int32_t> Window(const TokenStream& stream, std::size_t ctx, std::size_t index) {
  const auto begin = stream.tokens.begin() + static_cast<std::ptrdiff_t>(index * ctx);
  std::vector<std::int32_t> window(begin, begin + static_cast<std::ptrdiff_t>(ctx));
  if (stream.window_bos >= 0) window[0] = stream.window_bos;
  return window;
}

// There are `windows` windows, and every token is in the model's vocabulary.
Status CheckStream(const Model& model, const TokenStream& stream, std::size_t ctx, std::size_t windows) {
  if (stream.tokens.size() < ctx * windows) {
    return Error{ErrorCode::kInput, fmt::format("the text has {} tokens, less than {} window{} of {}",
                                                stream.tokens.size(), windows, windows == 1 ? "" : "s", ctx)};
  }
  const auto vocab = static_cast<std::int32_t>(model.config.vocab_size);
  for (const std::int32_t token : stream.tokens) {
    if (token < 0 || token >= vocab) {
      return Error{ErrorCode::kInput, fmt::format("the tokenizer gave token {}, the model's vocabulary has {}: they do "
                                                  "not belong together",
                                                  token, vocab)};
    }
  }
  return {};
}

}  // namespace

double PerplexityResult::mean_nll() const { return Mean(window_nll, scored_per_window); }
double PerplexityResult::mean_nll_half() const { return Mean(window_nll_half, scored_per_window_half); }
double PerplexityResult::bits_per_byte() const {
  const double nats = std::accumulate(window_nll.begin(), window_nll.end(), 0.0);
  return nats / std::numbers::ln2 / static_cast<double>(scored_bytes);
}

Result<TokenStream> MakeTokenStream(const Tokenizer& tokenizer, std::string_view text) {
  auto ids = tokenizer.Encode(text);
  if (!ids) return ids.error();
  TokenStream stream;
  if (tokenizer.adds_bos()) {
    stream.window_bos = tokenizer.bos();
    stream.tokens.push_back(tokenizer.bos());
    stream.token_bytes.push_back(0);
  }
  stream.tokens.insert(stream.tokens.end(), ids->begin(), ids->end());
  for (const std::int32_t id : *ids) {
    stream.token_bytes.push_back(static_cast<std::uint32_t>(tokenizer.Decode({&id, 1}).size()));
  }
  return stream;
}

Result<PerplexityResult> EvaluatePerplexity(const Model& model, const TokenStream& stream,
                                            const PerplexityOptions& options, const WindowFn& on_window) {
  if (auto status = CheckStream(model, stream, options.ctx, 1); !status) return status.error();
  const std::size_t ctx = options.ctx;
  PerplexityResult result;
  result.ctx = ctx;
  result.windows_total = stream.tokens.size() / ctx;
  result.scored_per_window = ctx - 1;
  result.scored_per_window_half = ctx - 1 - ctx / 2;
  const std::size_t windows =
      options.samples == 0 ? result.windows_total : std::min(options.samples, result.windows_total);

  auto session = Session::Create(model, ctx, ctx);
  if (!session) return session.error();
  auto logits = model.backend->Allocate(std::min(kHeadRows, ctx) * model.config.vocab_size);
  if (!logits) return logits.error();
  const auto start = std::chrono::steady_clock::now();
  std::vector<double> nll(ctx - 1);
  for (std::size_t w = 0; w < windows; ++w) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    ScoreWindow(*session, model, Window(stream, ctx, w), **logits, nll);
    const double half = std::accumulate(nll.begin() + static_cast<std::ptrdiff_t>(ctx / 2), nll.end(), 0.0);
    const double all = std::accumulate(nll.begin(), nll.begin() + static_cast<std::ptrdiff_t>(ctx / 2), 0.0) + half;
    if (!std::isfinite(all)) {
      return Error{ErrorCode::kNumerical,
                   fmt::format("the model gives NaN or infinity in window {} of {}", w + 1, windows)};
    }
    result.window_nll.push_back(all);
    result.window_nll_half.push_back(half);
    for (std::size_t i = 1; i < ctx; ++i) result.scored_bytes += stream.token_bytes[w * ctx + i];
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (on_window) on_window(result, windows);
  }
  return result;
}

Result<std::vector<float>> WindowLogits(const Model& model, const TokenStream& stream, std::size_t ctx,
                                        std::size_t window) {
  if (auto status = CheckStream(model, stream, ctx, window + 1); !status) return status.error();
  auto session = Session::Create(model, ctx, ctx);
  if (!session) return session.error();
  const std::size_t vocab = model.config.vocab_size;
  auto buffer = model.backend->Allocate(ctx * vocab);
  if (!buffer) return buffer.error();
  session->Logits(session->Forward(Window(stream, ctx, window)), {(*buffer)->data(), ctx, vocab});
  std::vector<float> logits(ctx * vocab);
  model.backend->Download((*buffer)->data(), logits);
  return logits;
}

}  // namespace marlin
