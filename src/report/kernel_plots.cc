#include "report/kernel_plots.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "report/log_panel.h"

namespace marlin {
namespace {

// All in pixels.
constexpr double kRooflineWidth = 960;
constexpr double kRooflineHeight = 600;
constexpr double kCurvesWidth = 560;
constexpr double kCurvesHeight = 420;
constexpr double kSettingLine = 20;  // between legend and panels

// A style per format, in the order in which they come.
std::vector<SeriesStyle> StylesOfFormats(std::span<const KernelSpeed> speeds) {
  std::vector<SeriesStyle> styles;
  for (const KernelSpeed& speed : speeds) {
    const auto same = [&](const SeriesStyle& style) { return style.label == speed.format; };
    if (std::ranges::none_of(styles, same)) styles.push_back(StyleAt(styles.size(), speed.format));
  }
  return styles;
}

Interval Widened(Interval range, double factor) { return {range.low / factor, range.high * factor}; }

std::string PointLook(const SeriesStyle& style, std::string_view with) {
  return fmt::format("{} pointtype {} pointsize 0.9 linewidth 1.3 linecolor rgb '{}'", with, style.point_type,
                     style.color);
}

// Read bandwidth up to the highest peak, and every peak from where it is the lower of the two.
void AddLimits(const KernelPlotInput& input, LogPanel& panel) {
  constexpr const char* kLook = "lines linewidth 1.6 linecolor rgb '#555555'";
  double highest = panel.y.high;
  if (!input.peaks.empty()) highest = std::ranges::max(input.peaks, {}, &ComputeLimit::gflops).gflops;
  if (input.read_gbps > 0) {
    panel.curves.push_back(
        {{{panel.x.low, panel.x.low * input.read_gbps}, {highest / input.read_gbps, highest}}, kLook});
  }
  for (const ComputeLimit& peak : input.peaks) {
    const double ridge = input.read_gbps > 0 ? peak.gflops / input.read_gbps : panel.x.low;
    if (ridge < panel.x.high) panel.curves.push_back({{{ridge, peak.gflops}, {panel.x.high, peak.gflops}}, kLook});
  }
}

std::string LimitNames(const Figure& figure, const KernelPlotInput& input, const LogPanel& panel) {
  const Box area = panel.area();
  std::string out;
  for (const ComputeLimit& peak : input.peaks) {
    out += TextAt(figure, area.right - 4, panel.Y(peak.gflops) + 10,
                  fmt::format("{}: {:.0f} GFLOP/s", peak.name, peak.gflops), {.align = "right", .color = "#555555"});
  }
  if (input.read_gbps > 0) {
    // Left of the line, which rises to the right, as far up as the text needs.
    const std::string name = fmt::format("read: {:.1f} GB/s", input.read_gbps);
    const double x = TextWidth(name, kFontPx) + 20;
    const double intensity = panel.x.low * std::pow(panel.x.high / panel.x.low, x / (area.right - area.left));
    out += TextAt(figure, area.left + x - 8, panel.Y(intensity * input.read_gbps) + 6, name,
                  {.align = "right", .color = "#555555"});
  }
  return out;
}

// Every point, and the roof where it matters.
void ChooseRange(const KernelPlotInput& input, LogPanel& panel) {
  panel.x = panel.y = {HUGE_VAL, 0};
  for (const KernelSpeed& speed : input.speeds) {
    panel.x = {std::min(panel.x.low, speed.intensity()), std::max(panel.x.high, speed.intensity())};
    panel.y = {std::min(panel.y.low, speed.gflops()), std::max(panel.y.high, speed.gflops())};
  }
  panel.x = Widened(panel.x, 1.6);
  if (input.read_gbps > 0) panel.y.low = std::min(panel.y.low, panel.x.low * input.read_gbps);
  for (const ComputeLimit& peak : input.peaks) panel.y.high = std::max(panel.y.high, peak.gflops);
  panel.y = Widened(panel.y, 1.5);
  panel.x_tics = LogTics(panel.x);
}

// The layer of a panel, and what was timed on it.
struct LayerSpeeds {
  std::size_t n = 0;
  std::size_t k = 0;
  std::vector<const KernelSpeed*> speeds;
};

std::vector<LayerSpeeds> GroupByLayer(std::span<const KernelSpeed> speeds) {
  std::vector<LayerSpeeds> layers;
  for (const KernelSpeed& speed : speeds) {
    auto found = std::ranges::find_if(layers, [&](const LayerSpeeds& x) { return x.n == speed.n && x.k == speed.k; });
    if (found == layers.end()) found = layers.insert(layers.end(), {speed.n, speed.k, {}});
    found->speeds.push_back(&speed);
  }
  return layers;
}

// Time over time(1) of one format, by m; empty without m = 1 and another m.
std::vector<Point> Ratios(const LayerSpeeds& layer, const std::string& format) {
  std::vector<Point> points;
  for (const KernelSpeed* speed : layer.speeds) {
    if (speed->format == format) points.push_back({static_cast<double>(speed->m), speed->us});
  }
  std::ranges::sort(points, {}, &Point::x);
  if (points.size() < 2 || points[0].x != 1) return {};
  const double one = points[0].y;
  for (Point& point : points) point.y /= one;
  return points;
}

// max(1, m / m1), where at m1 tokens arithmetic at the peak takes as long as one token did.
std::vector<Point> ArithmeticLimit(const LayerSpeeds& layer, const std::string& format, double most) {
  for (const KernelSpeed* speed : layer.speeds) {
    if (speed->format != format || speed->m != 1 || !speed->peak_gflops) continue;
    const double m1 = *speed->peak_gflops / speed->gflops();
    if (m1 >= most) return {{1, 1}, {most, 1}};
    return {{1, std::max(1.0, 1 / m1)}, {std::max(1.0, m1), std::max(1.0, 1 / m1)}, {most, most / m1}};
  }
  return {};
}

// Of some numbers, in rising order, those whose labels do not touch on a logarithmic axis: powers of two, and others
// between them.
std::vector<double> TicsApart(std::vector<double> numbers) {
  const auto power = [](double x) { return std::exp2(std::round(std::log2(x))) == x; };
  std::ranges::sort(numbers);
  const double least = numbers.empty() ? 1 : std::pow(numbers.back() / numbers.front(), 0.05);
  std::vector<double> tics;
  for (const double x : numbers) {
    const bool near = !tics.empty() && x / tics.back() < least;
    if (near && !power(x)) continue;
    if (near && !power(tics.back())) tics.pop_back();
    tics.push_back(x);
  }
  return tics;
}

LogPanel TokensPanel(const LayerSpeeds& layer, const std::vector<SeriesStyle>& styles) {
  LogPanel panel;
  panel.title = fmt::format("n = {}, k = {}", layer.n, layer.k);
  panel.subtitle = "dashed: the least that arithmetic at the peak allows";
  panel.x_title = "m, tokens at once";
  panel.y_title = "time(m) / time(1)";
  panel.x = panel.y = {1, 1};
  for (const SeriesStyle& style : styles) {
    const std::vector<Point> ratios = Ratios(layer, style.label);
    if (ratios.empty()) continue;
    const std::vector<Point> limit = ArithmeticLimit(layer, style.label, ratios.back().x);
    if (!limit.empty()) {
      panel.curves.push_back({limit, fmt::format("lines dashtype 2 linewidth 1 linecolor rgb '{}'", style.color)});
    }
    panel.curves.push_back({ratios, PointLook(style, "linespoints")});
    for (const std::vector<Point>* points : {&ratios, &limit}) {
      for (const Point& point : *points) {
        panel.x.high = std::max(panel.x.high, point.x);
        panel.y = {std::min(panel.y.low, point.y), std::max(panel.y.high, point.y)};
      }
    }
    for (const Point& point : ratios) {
      if (std::ranges::find(panel.x_tics, point.x) == panel.x_tics.end()) panel.x_tics.push_back(point.x);
    }
  }
  panel.x_tics = TicsApart(std::move(panel.x_tics));
  panel.x = Widened(panel.x, 1.15);
  panel.y = Widened(panel.y, 1.2);
  return panel;
}

}  // namespace

std::optional<Figure> RooflineFigure(const KernelPlotInput& input) {
  if (input.speeds.empty()) return std::nullopt;
  const std::vector<SeriesStyle> styles = StylesOfFormats(input.speeds);
  std::string texts;
  Figure figure = MakeLogFigure(kRooflineWidth, kRooflineHeight, styles, texts);
  LogPanel panel;
  panel.frame = {0, 0, kRooflineWidth, kRooflineHeight};
  panel.title = "Kernels under the limits of this machine";
  panel.subtitle = input.setting;
  panel.x_title = "FLOP per byte of weights, activations and outputs";
  panel.y_title = "GFLOP/s";
  ChooseRange(input, panel);
  AddLimits(input, panel);
  for (const SeriesStyle& style : styles) {
    Curve curve{{}, PointLook(style, "points")};
    for (const KernelSpeed& speed : input.speeds) {
      if (speed.format == style.label) curve.points.push_back({speed.intensity(), speed.gflops()});
    }
    panel.curves.push_back(std::move(curve));
  }
  DrawLogPanel(figure, panel, texts + LimitNames(figure, input, panel));
  return figure;
}

std::optional<Figure> TokensFigure(const KernelPlotInput& input) {
  const std::vector<SeriesStyle> styles = StylesOfFormats(input.speeds);
  std::vector<LogPanel> panels;
  for (const LayerSpeeds& layer : GroupByLayer(input.speeds)) {
    LogPanel panel = TokensPanel(layer, styles);
    if (!panel.curves.empty()) panels.push_back(std::move(panel));
  }
  if (panels.empty()) return std::nullopt;
  const std::size_t columns = panels.size() == 1 ? 1 : 2;
  const std::size_t lines = (panels.size() + columns - 1) / columns;
  const double panel_width = columns == 1 ? kRooflineWidth : kCurvesWidth;
  const double height = static_cast<double>(lines) * kCurvesHeight + kSettingLine;
  std::string texts;
  Figure figure = MakeLogFigure(static_cast<double>(columns) * panel_width, height, styles, texts);
  texts += TextAt(figure, kLogLeft, height - 4, input.setting, {.color = "#555555"});
  for (std::size_t i = 0; i < panels.size(); ++i) {
    const double left = static_cast<double>(i % columns) * panel_width;
    const std::size_t line = i / columns;
    const double top = height - kSettingLine - static_cast<double>(line) * kCurvesHeight;
    panels[i].frame = {left, top - kCurvesHeight, left + panel_width, top};
    DrawLogPanel(figure, panels[i], texts);
    texts.clear();
  }
  return figure;
}

}  // namespace marlin
