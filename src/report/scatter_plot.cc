// ppl_vs_compression: perplexity delta against compression.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "report/figures.h"
#include "report/page_sections.h"
#include "report/plots.h"
#include "report/point_panels.h"
#include "report/timing_columns.h"

namespace marlin {
namespace {

// All points and intervals and the baseline at 0, with room for the labels.
Axes ChooseAxes(const std::vector<PlotPoint>& points) {
  Axes axes{{points[0].x, points[0].x}, {0, 0}};
  for (const PlotPoint& point : points) {
    axes.x = {std::min(axes.x.low, point.x), std::max(axes.x.high, point.x)};
    axes.y = {std::min({axes.y.low, point.y, point.y_95.low}), std::max({axes.y.high, point.y, point.y_95.high})};
  }
  const double x_room = std::max(0.14 * (axes.x.high - axes.x.low), 0.02 * axes.x.high);
  const double y_room = std::max(0.10 * (axes.y.high - axes.y.low), 0.1);
  return {{axes.x.low - x_room, axes.x.high + x_room}, {axes.y.low - y_room, axes.y.high + y_room}};
}

// The row's decode speed behind its name.
void AddSpeed(const ResultRow& row, bool several_settings, PlotPoint& point) {
  const RowTiming* const timing = row.timing();
  if (timing == nullptr || !timing->decode) return;
  point.label += fmt::format(", {} tok/s", FigureThreeDigits(timing->decode->tok_s));
  if (timing->decode->unstable()) point.label += kUnstableMark;
  if (several_settings) point.label += OneLine(fmt::format(" ({})", timing->setting.decode.protocol));
}

// What places and marks mean, and the speeds where there is room for them.
std::string KeyOf(const std::vector<const ResultRow*>& drawn, const TimingColumns& timings, bool several_texts) {
  std::set<std::string> methods;
  for (const ResultRow* row : drawn) {
    if (row->record().config.kind != record::Kind::kImported) methods.insert(row->record().config.method);
  }
  const auto unstable = [](const ResultRow* row) {
    return row->timing() != nullptr && row->timing()->decode && row->timing()->decode->unstable();
  };
  std::string key;
  const auto add = [&key](const std::string& part) { key += (key.empty() ? "" : "; ") + part; };
  if (methods.size() > 1) add("methods of equal size moved apart");
  if (several_texts) add("of calibration texts the best");
  if (drawn.size() > kMostLabels) return key;
  if (timings.size() == 1)
    add(fmt::format("tok/s: decode ({})", timings.decode_label(0)) + TimingRemark(timings.RowsIn(0, drawn)));
  if (std::ranges::any_of(drawn, unstable)) key += (key.empty() ? "" : ";") + std::string(kUnstableMark) + " unstable";
  return key;
}

std::vector<PointPanel> CollectPanels(const Analysis& analysis) {
  std::vector<PointPanel> panels;
  for (const ModelResults& model : analysis.models) {
    for (const ResultGroup& group : model.groups) {
      PointPanel panel;
      const TimingColumns timings(group.rows, &ResultRow::timings);
      std::vector<const ResultRow*> drawn;
      bool several_texts = false;
      for (const ResultRow& row : group.rows) {
        if (!row.delta || !std::isfinite(row.delta->percent)) continue;
        if (IsOtherText(row, drawn)) {
          several_texts = true;
          continue;
        }
        const double y = row.delta->percent;
        drawn.push_back(&row);
        panel.points.push_back(
            PointOf(row, Compression(row.record().size), y, row.delta->percent_95.value_or(Interval{y, y})));
        AddSpeed(row, timings.size() > 1, panel.points.back());
      }
      if (panel.points.empty()) continue;
      panel.title = model.name;
      panel.subtitle = DescribeText(*group.perplexity());
      panel.label_key = KeyOf(drawn, timings, several_texts);
      panel.axes = ChooseAxes(panel.points);
      panel.guides = {{0, "baseline", true}, {1, "+1 %"}, {5, "+5 %"}};
      panel.side_by_side = true;
      panels.push_back(std::move(panel));
    }
  }
  return panels;
}

}  // namespace

std::optional<Figure> ScatterFigure(const Analysis& analysis) {
  const std::vector<PointPanel> panels = CollectPanels(analysis);
  if (panels.empty()) return std::nullopt;
  return PointFigure(panels, StylesOf(analysis),
                     {"compression (FP16 bytes / model bytes)", "perplexity delta, 95 % interval"},
                     "set format x '%gx'\nset format y '%g %%'\n");
}

}  // namespace marlin
