// kl_vs_bpw: mean KL against bits per weight.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "report/figures.h"
#include "report/page_sections.h"
#include "report/plots.h"
#include "report/point_panels.h"

namespace marlin {
namespace {

constexpr double kShown = 1e3;  // nats are shown in thousandths, as in the tables

// Every point and interval, with room for the labels; at least a factor of 2 in y.
Axes ChooseKlAxes(const std::vector<PlotPoint>& points) {
  Interval x = {points[0].x, points[0].x};
  Interval y = {points[0].y, points[0].y};
  for (const PlotPoint& point : points) {
    x = {std::min(x.low, point.x), std::max(x.high, point.x)};
    y = {std::min({y.low, point.y, point.y_95.low}), std::max({y.high, point.y, point.y_95.high})};
  }
  const double x_room = std::max(0.14 * (x.high - x.low), 0.05);
  const double y_room = std::max(std::pow(y.high / y.low, 0.15), std::sqrt(2.0));
  return {{x.low - x_room, x.high + x_room}, {y.low / y_room, y.high * y_room}, Scale::kLog};
}

// The points that no other one beats in both bits and KL, by bits.
std::vector<PlotPoint> ParetoLine(std::vector<PlotPoint> points) {
  std::sort(points.begin(), points.end(),
            [](const PlotPoint& a, const PlotPoint& b) { return a.x != b.x ? a.x < b.x : a.y < b.y; });
  std::vector<PlotPoint> line;
  for (const PlotPoint& point : points) {
    if (line.empty() || point.y < line.back().y) line.push_back(point);
  }
  return line;
}

// The floor as a line where it is near the points, else in words: some kernels agree to 1e-12 nats.
void AddFloor(const Record& baseline, PointPanel& panel) {
  constexpr double kNear = 30;
  const double floor = kShown * KlOf(*baseline.noise_floor);
  if (floor * kNear < panel.axes.y.low) {
    panel.note = fmt::format("noise floor {:.1e} nats: below this axis", floor / kShown);
    return;
  }
  panel.axes.y.low = std::min(panel.axes.y.low, floor / 1.5);
  panel.axes.y.high = std::max(panel.axes.y.high, floor * 2);
  panel.guides = {{floor, "noise floor", true}};
}

std::vector<PointPanel> CollectKlPanels(const Analysis& analysis) {
  std::vector<PointPanel> panels;
  for (const ModelResults& model : analysis.models) {
    for (const ResultGroup& group : model.groups) {
      PointPanel panel;
      std::string at_zero;  // has no place on a logarithmic axis
      std::vector<const ResultRow*> drawn;
      bool several_texts = false;
      for (const ResultRow& row : group.rows) {
        const std::optional<double> bits = BitsPerWeight(row.record().size);
        if (!row.kl || !bits || !std::isfinite(row.kl->mean)) continue;
        if (IsOtherText(row, drawn)) {
          several_texts = true;
          continue;
        }
        drawn.push_back(&row);
        const double y = kShown * row.kl->mean;
        if (y <= 0) {
          at_zero += (at_zero.empty() ? "; KL 0, not drawn: " : ", ") + row.name;
          continue;
        }
        Interval y_95 = row.kl->mean_95.value_or(Interval{row.kl->mean, row.kl->mean});
        y_95 = {kShown * y_95.low, kShown * y_95.high};
        y_95.low = std::max(y_95.low, y / 10);  // an interval that reaches 0 reaches the bottom
        panel.points.push_back(PointOf(row, *bits, y, y_95));
      }
      if (panel.points.empty()) continue;
      panel.title = model.name;
      panel.subtitle = DescribeText(*group.perplexity());
      panel.label_key = "stairs: the least KL for the bits (Pareto line)" + OneLine(at_zero) +
                        (several_texts ? "; of calibration texts the best" : "");
      panel.axes = ChooseKlAxes(panel.points);
      panel.stairs = ParetoLine(panel.points);
      if (const Record* baseline = group.noise_floor()) AddFloor(*baseline, panel);
      panel.y_tics = LogTics(panel.axes.y);
      panels.push_back(std::move(panel));
    }
  }
  return panels;
}

}  // namespace

std::optional<Figure> KlFigure(const Analysis& analysis) {
  const std::vector<PointPanel> panels = CollectKlPanels(analysis);
  if (panels.empty()) return std::nullopt;
  return PointFigure(panels, StylesOf(analysis),
                     {"bits per weight of the quantized tensors", "mean KL, 1e-3 nats per token, 95 % interval"},
                     "set logscale y\nset format x '%g'\n");
}

}  // namespace marlin
