#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "report/figures.h"
#include "report/labels.h"
#include "report/page_sections.h"
#include "report/plot_parts.h"
#include "report/plots.h"
#include "report/timing_columns.h"

namespace marlin {
namespace {

// All in pixels.
constexpr double kPanelWidth = 640;
constexpr double kPanelHeight = 470;
constexpr double kLegendHeight = 40;
constexpr double kLeft = 72;
constexpr double kRight = 16;
constexpr double kBottom = 54;
constexpr double kTop = 70;
constexpr double kMarkRadius = 7;
constexpr double kLabelHeight = 15;

struct PlotPoint {
  double x = 0;
  double y = 0;
  Interval y_95;
  std::string type;
  std::string label;
};

struct Panel {
  std::string title;
  std::string subtitle;
  std::string label_key;  // what the numbers beside the points are
  std::vector<PlotPoint> points;
};

std::vector<Panel> CollectPanels(const Analysis& analysis) {
  std::vector<Panel> panels;
  for (const ModelResults& model : analysis.models) {
    for (const ResultGroup& group : model.groups) {
      Panel panel;
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
      panels.push_back(std::move(panel));
    }
  }
  return panels;
}

// What the axes show: all points and intervals and the baseline at 0, with room for the labels.
struct Axes {
  Interval x;
  Interval y;
};

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

// Data to pixels inside one panel.
class Projection {
 public:
  Projection(const Box& area, const Axes& axes) : area_(area), axes_(axes) {}
  double X(double x) const {
    return area_.left + (x - axes_.x.low) / (axes_.x.high - axes_.x.low) * (area_.right - area_.left);
  }
  double Y(double y) const {
    return area_.bottom + (y - axes_.y.low) / (axes_.y.high - axes_.y.low) * (area_.top - area_.bottom);
  }

 private:
  Box area_;
  Axes axes_;
};

// Lines at 0, 1 and 5 %, each with its name above it; returns what they cover. Where the scale leaves no room for a
// name the line is left out too: it would run through another line's name, and nobody could tell what it is.
std::vector<Box> DrawGuides(Figure& figure, const Box& area, const Projection& to_px) {
  struct Guide {
    double percent;
    const char* name;
  };
  constexpr std::array<Guide, 3> kGuides = {{{0, "baseline"}, {1, "+1 %"}, {5, "+5 %"}}};
  std::vector<Box> covered;
  double free_from = area.bottom;  // above the last name
  for (const Guide& guide : kGuides) {
    const double y = to_px.Y(guide.percent);
    if (y < free_from || y + kLabelHeight > area.top) continue;
    free_from = y + kLabelHeight;
    figure.script += LineAt(figure, area.left, y, area.right, y,
                            guide.percent == 0 ? "linecolor rgb '#555555' linewidth 1.2"
                                               : "linecolor rgb '#888888' linewidth 1 dashtype 2");
    covered.push_back({area.left, y - 1, area.right, y + 1});
    figure.script += TextAt(figure, area.right - 4, y + 8, guide.name, {.align = "right", .color = "#777777"});
    covered.push_back({area.right - 4 - TextWidth(guide.name, kFontPx), y, area.right, y + kLabelHeight});
  }
  return covered;
}

void DrawLabels(Figure& figure, const Box& area, const Panel& panel, const Projection& to_px, std::vector<Box> marks) {
  std::vector<LabelRequest> requests;
  for (const PlotPoint& point : panel.points) {
    const double x = to_px.X(point.x);
    const double y = to_px.Y(point.y);
    requests.push_back({x, y, TextWidth(point.label, kFontPx), kLabelHeight});
    marks.push_back({x - kMarkRadius, y - kMarkRadius, x + kMarkRadius, y + kMarkRadius});
    marks.push_back({x - 3, to_px.Y(point.y_95.low), x + 3, to_px.Y(point.y_95.high)});
  }
  const Box inside = {area.left + 4, area.bottom + 4, area.right - 4, area.top - 4};
  const std::vector<PlacedLabel> placed = PlaceLabels(requests, inside, marks);
  for (std::size_t i = 0; i < placed.size(); ++i) {
    const Box& box = placed[i].box;
    const double middle = (box.bottom + box.top) / 2;
    if (placed[i].leader) {
      figure.script += LineAt(figure, requests[i].x, requests[i].y, std::clamp(requests[i].x, box.left, box.right),
                              std::clamp(requests[i].y, box.bottom, box.top), "linecolor rgb '#999999' linewidth 0.8");
    }
    // Text that ends towards its point is aligned to that side; the width is only an estimate.
    const bool left_of_point = box.right <= requests[i].x;
    const bool right_of_point = box.left >= requests[i].x;
    const double x = left_of_point ? box.right : right_of_point ? box.left : (box.left + box.right) / 2;
    figure.script += TextAt(figure, x, middle, panel.points[i].label,
                            {.align = left_of_point    ? "right"
                                      : right_of_point ? "left"
                                                       : "center"});
  }
}

std::string Data(const std::vector<PlotPoint>& points, const std::string& type) {
  std::string out;
  for (const PlotPoint& point : points) {
    if (point.type == type) out += fmt::format("{} {} {} {}\n", point.x, point.y, point.y_95.low, point.y_95.high);
  }
  return out;
}

// `extra` is drawn with the panel: gnuplot draws labels only beside a plot.
void DrawPanel(Figure& figure, const Panel& panel, const Box& frame, const std::vector<SeriesStyle>& styles,
               const std::string& extra) {
  const Box area = {frame.left + kLeft, frame.bottom + kBottom, frame.right - kRight, frame.top - kTop};
  const Axes axes = ChooseAxes(panel.points);
  const Projection to_px(area, axes);
  std::string& script = figure.script;
  script += "unset label\nunset arrow\n" + PlotArea(figure, area) + extra;
  script += fmt::format("set xrange [{}:{}]\nset yrange [{}:{}]\n", axes.x.low, axes.x.high, axes.y.low, axes.y.high);
  script += TextAt(figure, area.left, area.top + 50, panel.title, {.bold = true});
  script += TextAt(figure, area.left, area.top + 32, panel.subtitle, {.color = "#555555"});
  if (!panel.label_key.empty()) {
    script += TextAt(figure, area.left, area.top + 14, panel.label_key, {.color = "#555555"});
  }
  DrawLabels(figure, area, panel, to_px, DrawGuides(figure, area, to_px));
  std::string plots;
  for (std::size_t i = 0; i < styles.size(); ++i) {
    const std::string data = Data(panel.points, styles[i].label);
    if (data.empty()) continue;
    script += fmt::format("$series{} << EOD\n{}EOD\n", i, data);
    plots += fmt::format(
        "{}$series{} using 1:2:3:4 with yerrorbars pointtype {} pointsize 1.2 linewidth 1.2 "
        "linecolor rgb '{}' notitle",
        plots.empty() ? "plot " : ", ", i, styles[i].point_type, styles[i].color);
  }
  script += plots + "\n";
}

bool Holds(const Panel& panel, const std::string& type) {
  return std::any_of(panel.points.begin(), panel.points.end(), [&](const PlotPoint& x) { return x.type == type; });
}

}  // namespace

std::optional<Figure> ScatterFigure(const Analysis& analysis) {
  const std::vector<Panel> panels = CollectPanels(analysis);
  if (panels.empty()) return std::nullopt;
  std::vector<SeriesStyle> styles = StylesOf(analysis);
  std::erase_if(styles, [&](const SeriesStyle& style) {
    return std::none_of(panels.begin(), panels.end(), [&](const Panel& x) { return Holds(x, style.label); });
  });

  const std::size_t columns = panels.size() == 1 ? 1 : 2;
  const std::size_t lines = (panels.size() + columns - 1) / columns;
  const double panel_width = columns == 1 ? 800 : kPanelWidth;
  Figure figure;
  figure.width_px = static_cast<int>(static_cast<double>(columns) * panel_width);
  figure.height_px = static_cast<int>(static_cast<double>(lines) * kPanelHeight + kLegendHeight);
  figure.script =
      "set multiplot\nunset key\nset border 3 linecolor rgb '#555555'\nset tics nomirror out scale 0.6 textcolor rgb "
      "'#333333'\nset grid linecolor rgb '#eeeeee' linetype 1 linewidth 1\nset format x '%gx'\nset format y '%g %%'\n"
      "set xlabel 'compression (FP16 bytes / model bytes)' textcolor rgb '#333333'\n"
      "set ylabel 'perplexity delta, 95 % interval' textcolor rgb '#333333'\n";
  std::string legend = LegendAt(figure, kLeft, figure.height_px - kLegendHeight / 2, styles);
  for (std::size_t i = 0; i < panels.size(); ++i) {
    const double left = static_cast<double>(i % columns) * panel_width;
    const double top = figure.height_px - kLegendHeight - static_cast<double>(i / columns) * kPanelHeight;
    DrawPanel(figure, panels[i], {left, top - kPanelHeight, left + panel_width, top}, styles, legend);
    legend.clear();
  }
  return figure;
}

}  // namespace marlin
