// ppl_vs_compression: what a row costs in perplexity against what it saves.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
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

std::vector<PointPanel> CollectPanels(const Analysis& analysis) {
  std::vector<PointPanel> panels;
  for (const ModelResults& model : analysis.models) {
    for (const ResultGroup& group : model.groups) {
      PointPanel panel;
      const TimingColumns timings(group.rows, TimingOf);
      bool unstable = false;
      for (const ResultRow& row : group.rows) {
        if (!row.delta || !std::isfinite(row.delta->percent)) continue;
        const double y = row.delta->percent;
        std::string label = row.name;
        if (row.decode) label += fmt::format(", {} tok/s", FigureThreeDigits(row.decode->tok_s));
        if (row.decode && row.decode->unstable()) label += kUnstableMark;
        unstable = unstable || (row.decode && row.decode->unstable());
        if (row.decode && timings.size() > 1)
          label += fmt::format(" ({})", DecodeProtocol(*row.record().throughput).id);
        panel.points.push_back({Compression(row.record().size), y, row.delta->percent_95.value_or(Interval{y, y}),
                                row.record().config.label, OneLine(label)});
      }
      if (panel.points.empty()) continue;
      panel.title = model.name;
      panel.subtitle = DescribeText(*group.perplexity());
      if (timings.size() == 1)
        panel.label_key = fmt::format("tok/s: decode, timing protocol {}", timings.decode_label(0));
      if (unstable) panel.label_key += (panel.label_key.empty() ? "" : ";") + std::string(kUnstableMark) + " unstable";
      panel.axes = ChooseAxes(panel.points);
      panel.guides = {{0, "baseline", true}, {1, "+1 %"}, {5, "+5 %"}};
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
                     "set format x '%gx'\nset format y '%g %%'\n"
                     "set xlabel 'compression (FP16 bytes / model bytes)' textcolor rgb '#333333'\n"
                     "set ylabel 'perplexity delta, 95 % interval' textcolor rgb '#333333'\n");
}

}  // namespace marlin
