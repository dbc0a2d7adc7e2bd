// Section 1: the best row of each model in plain sentences.
#include <fmt/format.h>

#include <cmath>
#include <optional>
#include <string>

#include "records/ranking.h"
#include "report/comparisons.h"
#include "report/figures.h"
#include "report/page_sections.h"
#include "report/row_programs.h"

namespace marlin {
namespace {

// Without its sign.
std::string Unsigned(double x) { return FigurePercent(std::abs(x)).substr(1); }

// "costs 0.40 % perplexity (0.31 to 0.52)"
std::string CostText(const ResultRow& row) {
  if (!row.delta) return fmt::format("has no perplexity delta ({})", row.why_no_delta);
  const PairedDelta& x = *row.delta;
  const char* const few = row.few() ? ", few windows" : "";
  if (!x.percent_95)
    return fmt::format("changes perplexity by {} % (one window, no interval)", FigurePercent(x.percent));
  const Interval& range = *x.percent_95;
  if (!x.distinguished()) {
    return fmt::format("shows {} in perplexity ({} to {} %{})", kNoDifference, FigurePercent(range.low),
                       FigurePercent(range.high), few);
  }
  if (x.percent > 0) {
    return fmt::format("costs {} % perplexity ({} to {}{})", Unsigned(x.percent), Unsigned(range.low),
                       Unsigned(range.high), few);
  }
  return fmt::format("lowers perplexity by {} % ({} to {}{})", Unsigned(x.percent), Unsigned(range.high),
                     Unsigned(range.low), few);
}

// The newest timing of the row that a baseline shares: one setting, one run.
struct SharedTiming {
  const RowTiming* base = nullptr;
  const RowTiming* row = nullptr;
};
SharedTiming FindShared(const ResultGroup& group, const ResultRow& row) {
  for (const RowTiming& timing : row.timings) {
    if (!timing.decode) continue;
    for (const ResultRow& base : group.rows) {
      if (!base.is_baseline()) continue;
      for (const RowTiming& other : base.timings) {
        if (other.decode && other.setting == timing.setting &&
            TimingRun(other.record()) == TimingRun(timing.record())) {
          return {&other, &timing};
        }
      }
    }
  }
  return {};
}

std::string SpeedText(const ResultGroup& group, const ResultRow& row) {
  const SharedTiming shared = FindShared(group, row);
  if (shared.row == nullptr) {
    const RowTiming* const timing = row.timing();
    if (timing == nullptr) return "not timed";
    if (!timing->decode) return "decode is not timed";
    return fmt::format("decodes {} tok/s; 16 bits were not timed in the same run", FigureSpeed(timing->decode));
  }
  const SpeedRatio x = RatioOf(*shared.base->decode, *shared.row->decode);
  const bool busy = ForeignLoad(shared.base->record().machine) || ForeignLoad(shared.row->record().machine);
  const char* const load = busy ? ", while other programs were running" : "";
  if (!x.ratio_95) {
    return fmt::format("decodes {} tok/s and 16 bits {}, too unstable to compare{}",
                       FigureThreeDigits(shared.row->decode->tok_s), FigureThreeDigits(shared.base->decode->tok_s),
                       load);
  }
  if (!x.distinguished()) return fmt::format("decode speed shows {} from 16 bits{}", kNoDifference, load);
  const bool faster = x.ratio > 1;
  const auto times = [&](double ratio) { return fmt::format("{:.2f}", faster ? ratio : 1 / ratio); };
  return fmt::format("decodes {}x {} than 16 bits ({} to {}{})", times(x.ratio), faster ? "faster" : "slower",
                     times(faster ? x.ratio_95->low : x.ratio_95->high),
                     times(faster ? x.ratio_95->high : x.ratio_95->low), load);
}

}  // namespace

std::string RowClause(const ResultGroup& group, const ResultRow& row) {
  return fmt::format("{} {} at {} smaller; {}", MarkedName(row), CostText(row),
                     FigureRatio(Compression(row.record().size)), SpeedText(group, row));
}

std::string ModelSentence(const ModelResults& model, const ResultGroup& group) {
  const ResultRow* const best = group.best();
  if (best == nullptr) return fmt::format("{}: no row is the best.", model.name);
  const record::Size& size = best->record().size;
  const record::Model& source = best->record().model;
  std::string text = model.name + ": ";
  if (source.source_bytes < size.model_bytes && source.source_bytes < size.fp16_bytes) {
    text += fmt::format(
        "the original is already quantized ({}) and smaller, {} MB against {} MB: keep it. Best of the "
        "rows: ",
        source.source_type, FigureMegabytes(source.source_bytes), FigureMegabytes(size.model_bytes));
  }
  text += RowClause(group, *best) + ".";
  if (best->delta && best->delta->distinguished() && best->delta->percent < 0) {
    text += " A lower perplexity does not mean a better model: see its KL.";
  }
  if (const std::string programs = ProgramsOf(group, *best); !programs.empty()) {
    text += fmt::format(" It runs in {}.", programs);
  }
  if (best->indistinguishable) text += " Its KL is not above the noise floor.";
  if (group.order == RankOrder::kPerplexity) text += " It is ranked by perplexity: not every row has a KL.";
  return text;
}

}  // namespace marlin
