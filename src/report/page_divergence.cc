// Divergence in section 2: the order of the rows, the noise floor, percentiles of KL.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "report/figures.h"
#include "report/page_sections.h"

namespace marlin {
namespace {

std::string NoiseFloorText(const Record& baseline) {
  const record::NoiseFloor& floor = *baseline.noise_floor;
  return fmt::format(
      "Noise floor of KL: {:.2e} nats per token, {} by {} against itself by {}, first {} {}. A row whose mean KL does "
      "not exceed it is marked \"indistinguishable\".",
      KlOf(floor), baseline.config.id, floor.kernels[0], floor.kernels[1], floor.windows,
      floor.windows == 1 ? "window" : "windows");
}

// Rows whose perplexity lies below the baseline's, outside the interval.
std::vector<std::string> BelowBaseline(const ResultGroup& group) {
  std::vector<std::string> names;
  for (const ResultRow& row : group.rows) {
    if (!row.delta || !row.delta->percent_95 || row.delta->percent_95->high >= 0) continue;
    names.push_back(row.name);
  }
  return names;
}

constexpr std::size_t kFewNames = 3;  // that a sentence can hold

std::string Percent(double share) { return FigureFixed(100 * share, 3); }

}  // namespace

std::string BelowBaselineWarning(const ResultGroup& group) {
  const std::vector<std::string> names = BelowBaseline(group);
  if (names.empty()) return "";
  return fmt::format(
      "A perplexity below the baseline's does not mean a better model ({}): rounding can soften overconfident "
      "predictions, which lowers the perplexity on a text foreign to the model. KL shows how far the predictions "
      "moved{}.",
      names.size() <= kFewNames ? fmt::format("{}", fmt::join(names, ", ")) : fmt::format("{} rows", names.size()),
      group.any_kl() ? "" : fmt::format("; it is {} here", kNotMeasured));
}

std::vector<std::string> DivergenceNotes(const ResultGroup& group) {
  std::vector<std::string> notes;
  if (const std::vector<std::string> names = BelowBaseline(group); names.size() > kFewNames) {
    notes.push_back(fmt::format("Perplexity below the baseline's: {}.", fmt::join(names, ", ")));
  }
  if (!group.any_kl()) return notes;
  const Record* baseline = group.noise_floor();
  notes.push_back(baseline == nullptr ? fmt::format("Noise floor of KL: {}.", kNotMeasured)
                                      : NoiseFloorText(*baseline));
  return notes;
}

Table DivergenceTable(const ResultGroup& group, const PageOptions& options) {
  Table table;
  table.columns = {{"Config", Align::kLeft},
                   {"KL median"},
                   {"p90"},
                   {"p99"},
                   {"p99.9"},
                   {"Max"},
                   {"Same top-1 % [95 %]"},
                   {"Probability change %, mean", Align::kRight, kDetail},
                   {"RMS", Align::kRight, kDetail}};
  const auto milli = [](double nats) { return FigureThreeDigits(1e3 * nats); };
  for (const ResultRow* const sorted : SortedRows(group, options.sort)) {
    const ResultRow& row = *sorted;
    if (!row.kl) continue;
    const record::Divergence& x = *row.record().divergence;
    const ProbabilityChange change = ProbabilityChangeOf(x);
    std::string same_top = FigureShare(row.same_top);
    if (const auto& interval = row.same_top->mean_95) {
      same_top += fmt::format(" [{:.2f}, {:.2f}]", 100 * interval->low, 100 * interval->high);
    }
    table.Add({RecordCell(MarkedName(row), *row.stored, options), milli(x.kl_median), milli(x.kl_p90), milli(x.kl_p99),
               milli(x.kl_p999), milli(x.kl_max), same_top, fmt::format("{:+.3f}", 100 * change.mean + 0.0),
               Percent(change.rms)});
  }
  return table;
}

}  // namespace marlin
