// uniform_vs_mixed and calibration_effect: the comparisons of sections 3 and 4 as dots.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "report/comparisons.h"
#include "report/dot_plot.h"
#include "report/figures.h"
#include "report/page_sections.h"
#include "report/plots.h"

namespace marlin {
namespace {

// A row's loss by the order of its group; empty where it was not measured.
std::optional<Dot> DotOf(const ResultRow* row, std::size_t series, RankOrder order) {
  if (row == nullptr) return std::nullopt;
  if (order == RankOrder::kDivergence) {
    if (!row->kl) return std::nullopt;
    const double x = 1e3 * row->kl->mean;
    const Interval nats = row->kl->mean_95.value_or(Interval{row->kl->mean, row->kl->mean});
    return Dot{series, x, {1e3 * nats.low, 1e3 * nats.high}};
  }
  if (!row->delta) return std::nullopt;
  const double x = row->delta->percent;
  return Dot{series, x, row->delta->percent_95.value_or(Interval{x, x})};
}

DotPanel PanelOf(const ModelResults& model, const ResultGroup& group, RankOrder order, const char* remark_head) {
  const char* label = order == RankOrder::kDivergence ? "mean KL, 1e-3 nats per token, 95 % interval"
                                                      : "perplexity delta, %, 95 % interval";
  return {OneLine(model.name),
          group.perplexity() == nullptr ? "" : OneLine(DescribeText(*group.perplexity())),
          label,
          remark_head,
          {}};
}

// The paired difference in the unit of the axis, or that there is none.
std::string Remark(const ResultRow& a, const ResultRow& b, RankOrder order) {
  const RowDifference change = DifferenceOf(a, b);
  if (order == RankOrder::kDivergence && change.kl) {
    return change.kl->distinguished() ? FigureKlChange(*change.kl) : kNoDifference;
  }
  if (order == RankOrder::kPerplexity && change.perplexity) {
    return change.perplexity->distinguished() ? FigureDelta(*change.perplexity) : kNoDifference;
  }
  return kNotMeasured;
}

// By divergence wherever all pairs have it, even if other rows of the group lack it.
RankOrder OrderOf(const std::vector<MixedPair>& pairs, const ResultGroup& group) {
  const bool all = std::all_of(pairs.begin(), pairs.end(), [](const MixedPair& pair) {
    return pair.uniform != nullptr && pair.uniform->kl && pair.mixed->kl;
  });
  return all ? RankOrder::kDivergence : group.order;
}

// Configurations with two texts or more that were measured: one text has no effect to show.
std::vector<CalibratedRows> WithEffect(const ResultGroup& group) {
  std::vector<CalibratedRows> all = CollectCalibrated(group);
  for (CalibratedRows& entry : all) {
    std::erase_if(entry.texts, [&](const auto& text) { return !DotOf(text.second, 0, group.order); });
  }
  std::erase_if(all, [](const CalibratedRows& entry) { return entry.texts.size() < 2; });
  return all;
}

// The remark compares the worst text with the best one.
DotLine LineOf(const CalibratedRows& entry, const std::vector<std::string>& titles, RankOrder order) {
  DotLine line{OneLine(entry.config + " " + entry.method), "", {}};
  const ResultRow* best = entry.texts.front().second;  // rows of a group lie in one vector, by rank
  const ResultRow* worst = best;
  for (const auto& [title, row] : entry.texts) {
    const auto series = std::lower_bound(titles.begin(), titles.end(), title) - titles.begin();
    line.dots.push_back(*DotOf(row, static_cast<std::size_t>(series), order));
    best = std::min(best, row);
    worst = std::max(worst, row);
  }
  line.remark = Remark(*best, *worst, order);
  return line;
}

}  // namespace

std::optional<Figure> MixedFigure(const Analysis& analysis) {
  std::vector<DotPanel> panels;
  for (const ModelResults& model : analysis.models) {
    for (const ResultGroup& group : model.groups) {
      const std::vector<MixedPair> pairs = MixedPairs(group);
      const RankOrder order = OrderOf(pairs, group);
      DotPanel panel = PanelOf(model, group, order, "mixed against uniform");
      for (const MixedPair& pair : pairs) {
        const auto uniform = DotOf(pair.uniform, 0, order);
        const auto mixed = DotOf(pair.mixed, 1, order);
        if (!uniform || !mixed) continue;
        panel.lines.push_back({OneLine(ConfigName(pair.uniform->record()) + " / " + pair.mixed->name),
                               Remark(*pair.uniform, *pair.mixed, order),
                               {*uniform, *mixed}});
      }
      if (!panel.lines.empty()) panels.push_back(std::move(panel));
    }
  }
  if (panels.empty()) return std::nullopt;
  return DotFigure(panels, {StyleAt(1, "uniform"), StyleAt(0, "mixed, under the same bytes")}, DotLook::kJoined);
}

std::optional<Figure> CalibrationFigure(const Analysis& analysis) {
  std::vector<std::string> titles;
  for (const ModelResults& model : analysis.models) {
    for (const ResultGroup& group : model.groups) {
      for (std::string& title : TextsOf(WithEffect(group))) titles.push_back(std::move(title));
    }
  }
  std::sort(titles.begin(), titles.end());
  titles.erase(std::unique(titles.begin(), titles.end()), titles.end());
  std::vector<DotPanel> panels;
  for (const ModelResults& model : analysis.models) {
    for (const ResultGroup& group : model.groups) {
      DotPanel panel = PanelOf(model, group, group.order, "worst against best");
      for (const CalibratedRows& entry : WithEffect(group)) panel.lines.push_back(LineOf(entry, titles, group.order));
      if (!panel.lines.empty()) panels.push_back(std::move(panel));
    }
  }
  if (panels.empty()) return std::nullopt;
  std::vector<SeriesStyle> series;
  for (const std::string& title : titles) series.push_back(StyleAt(series.size(), OneLine(title)));
  return DotFigure(panels, series, DotLook::kBeside);
}

}  // namespace marlin
