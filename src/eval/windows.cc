#include "eval/windows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace marlin {

Status CheckStream(const TokenStream& stream, std::size_t vocab, std::size_t ctx, std::size_t windows) {
  if (stream.tokens.size() < ctx * windows) {
    return Error{ErrorCode::kInput, fmt::format("the text has {} tokens, less than {} window{} of {}",
                                                stream.tokens.size(), windows, windows == 1 ? "" : "s", ctx)};
  }
  return CheckTokens(stream, vocab);
}

Result<PerplexityResult> StartResult(const TokenStream& stream, std::size_t vocab, const PerplexityOptions& options) {
  if (auto status = CheckStream(stream, vocab, options.ctx, 1); !status) return status.error();
  PerplexityResult result;
  result.ctx = options.ctx;
  result.windows_total = stream.tokens.size() / options.ctx;
  result.scored_per_window = options.ctx - 1;
  result.scored_per_window_half = options.ctx - 1 - options.ctx / 2;
  return result;
}

std::size_t WindowsToScore(const PerplexityResult& started, const PerplexityOptions& options) {
  return options.samples == 0 ? started.windows_total : std::min(options.samples, started.windows_total);
}

// SmolLM2-135M's shape on a 32-core Xeon: four are 4 % faster than one by 32 threads; by 8 and 16 threads none is.
std::size_t WindowsAtOnce(const Device& device, std::size_t ctx) {
  const std::size_t wanted = device.tokens_at_once() / ctx;
  return std::max<std::size_t>(wanted, device.threads() < 32 || device.hardware() ? 1 : 4);
}

Result<WindowStates> WindowStates::Create(const Model& model, const TokenStream& stream,
                                          const PerplexityOptions& options, std::size_t windows) {
  const std::size_t wanted = options.at_once > 0 ? options.at_once : WindowsAtOnce(*model.backend, options.ctx);
  const std::size_t at_once = std::min(wanted, windows);
  auto session = Session::Create(model, options.ctx, options.ctx, at_once);
  if (!session) return session.error();
  return WindowStates(*std::move(session), stream, options.ctx, windows, at_once);
}

Result<DeviceTensor> WindowStates::Next() {
  if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
  MARLIN_CHECK(next_ < windows_, "more windows than were announced");
  const std::size_t place = next_ % at_once_;
  if (place == 0) {
    const std::size_t count = std::min(at_once_, windows_ - next_);
    std::vector<std::int32_t> tokens;
    for (std::size_t w = next_; w < next_ + count; ++w) {
      const auto window = stream_->Window(w * ctx_, ctx_);
      tokens.insert(tokens.end(), window.begin(), window.end());
    }
    session_.Reset();
    states_ = session_.ForwardTogether(tokens, count);
  }
  ++next_;
  return states_.Rows(place * ctx_, ctx_);
}

Status AddWindow(const TokenStream& stream, std::span<const double> nll, std::size_t windows,
                 PerplexityResult& result) {
  const std::size_t ctx = result.ctx;
  const std::size_t w = result.window_nll.size();
  const auto middle = nll.begin() + static_cast<std::ptrdiff_t>(ctx / 2);
  const double half = std::accumulate(middle, nll.end(), 0.0);
  const double all = std::accumulate(nll.begin(), middle, 0.0) + half;
  if (!std::isfinite(all)) {
    return Error{ErrorCode::kNumerical,
                 fmt::format("the model gives NaN or infinity in window {} of {}", w + 1, windows)};
  }
  result.window_nll.push_back(all);
  result.window_nll_half.push_back(half);
  for (std::size_t i = 1; i < ctx; ++i) result.scored_bytes += stream.token_bytes[w * ctx + i];
  return {};
}

}  // namespace marlin
