#include "quantize/calibrate.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/progress.h"
#include "base/thread_pool.h"

namespace marlin {

Result<std::vector<std::size_t>> SpreadWindows(std::size_t tokens, std::size_t ctx, std::size_t windows) {
  const std::size_t held = tokens / ctx;
  if (std::min(held, windows) < kLeastCalibrationWindows) {
    return Error{
        ErrorCode::kInput,
        fmt::format("the calibration would have {} windows of {} tokens, want at least {}: {}", std::min(held, windows),
                    ctx, kLeastCalibrationWindows,
                    held < kLeastCalibrationWindows ? fmt::format("the text has {} tokens; give a longer one", tokens)
                                                    : std::string("ask for more windows"))};
  }
  const std::size_t count = std::min(held, windows);
  std::vector<std::size_t> begins(count);
  for (std::size_t i = 0; i < count; ++i) {
    begins[i] = count == held ? i * ctx : i * (tokens - ctx) / (count - 1);
  }
  return begins;
}

Result<CalibrationWindows> CutCalibration(const Tokenizer& tokenizer, const EvalText& text, std::size_t ctx,
                                          std::size_t windows) {
  auto stream = MakeTokenStream(tokenizer, text.text);
  if (!stream) return Error{stream.error().code, text.name + ": " + stream.error().message};
  auto begins = SpreadWindows(stream->tokens.size(), ctx, windows);
  if (!begins) return Error{begins.error().code, text.name + ": " + begins.error().message};
  return CalibrationWindows{std::move(*stream), std::move(*begins), ctx, text.name, text.sha256};
}

ModelStatistics EmptyStatistics(const Description& description, StatisticsSource source) {
  source.seen = 0;
  ModelStatistics statistics{std::move(source), InputNames(description), {}};
  for (const auto& names : statistics.names) statistics.blocks.emplace_back(names.size());
  return statistics;
}

Result<ModelStatistics> CollectStatistics(const Model& model, const TokenStream& stream, bool gram,
                                          ModelStatistics start,
                                          const std::function<Status(ModelGatherer&)>& after_window) {
  StatisticsSource& source = start.source;
  const auto begins = SpreadWindows(stream.tokens.size(), source.ctx, source.windows);
  if (!begins) return begins.error();
  source.windows = begins->size();
  if (auto status = CheckContext(model.description, source.ctx); !status) return status.error();
  if (auto status = CheckTokens(stream, model.description.vocab_size); !status) return status.error();
  auto session = Session::Create(model, source.ctx, source.ctx);
  if (!session) return session.error();
  ModelGatherer gatherer(*model.backend, gram, std::move(start));
  while (gatherer.source().seen < gatherer.source().windows) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    Status status;
    session->Reset();
    const auto window = stream.Window((*begins)[gatherer.source().seen], gatherer.source().ctx);
    session->Forward(window, [&](std::size_t block, std::size_t input, const DeviceTensor& x) {
      if (status.ok()) status = gatherer.Add(block, input, x);
    });
    if (!status) return status.error();
    gatherer.EndWindow();
    if (after_window) status = after_window(gatherer);
    if (!status) return status.error();
  }
  return std::move(gatherer).Finish();
}

}  // namespace marlin
