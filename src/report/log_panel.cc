#include "report/log_panel.h"

#include <fmt/format.h>

#include <cmath>

namespace marlin {
namespace {

// All in pixels.
constexpr double kLogRight = 20;
constexpr double kLogBottom = 54;
constexpr double kLogTop = 56;
constexpr double kLogTitleX = 14;  // of the y axis, from the panel's edge
constexpr double kLogLegendLine = 20;
constexpr double kLogLegendMark = 40;  // mark and gaps of an entry, beside its text

// The styles in lines that fit the width.
std::vector<std::vector<SeriesStyle>> LegendLines(const std::vector<SeriesStyle>& styles, double width) {
  std::vector<std::vector<SeriesStyle>> lines(1);
  double used = 0;
  for (const SeriesStyle& style : styles) {
    const double needed = kLogLegendMark + TextWidth(style.label, kFontPx);
    if (used > 0 && used + needed > width) {
      lines.emplace_back();
      used = 0;
    }
    lines.back().push_back(style);
    used += needed;
  }
  return lines;
}

}  // namespace

Box LogPanel::area() const {
  return {frame.left + kLogLeft, frame.bottom + kLogBottom, frame.right - kLogRight, frame.top - kLogTop};
}

double LogPanel::X(double value) const {
  return area().left + std::log(value / x.low) / std::log(x.high / x.low) * (area().right - area().left);
}

double LogPanel::Y(double value) const {
  return area().bottom + std::log(value / y.low) / std::log(y.high / y.low) * (area().top - area().bottom);
}

Figure MakeLogFigure(double width, double height, const std::vector<SeriesStyle>& styles, std::string& texts) {
  const auto lines = LegendLines(styles, width - kLogLeft - kLogRight);
  Figure figure;
  figure.width_px = static_cast<int>(width);
  figure.height_px = static_cast<int>(height + kLogLegendLine * static_cast<double>(lines.size()) + 10);
  figure.script =
      "set multiplot\nunset key\nset border 3 linecolor rgb '#555555'\nset tics nomirror out scale 0.6 textcolor rgb "
      "'#333333'\nset grid linecolor rgb '#eeeeee' linetype 1 linewidth 1\nset logscale xy\n";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    texts += LegendAt(figure, kLogLeft, figure.height_px - kLogLegendLine * (static_cast<double>(i) + 0.8), lines[i]);
  }
  return figure;
}

void DrawLogPanel(Figure& figure, const LogPanel& panel, const std::string& texts) {
  const Box area = panel.area();
  std::string& script = figure.script;
  script += "unset label\nunset arrow\n" + PlotArea(figure, area) + texts;
  script +=
      fmt::format("set xrange [{}:{}]\nset yrange [{}:{}]\n", panel.x.low, panel.x.high, panel.y.low, panel.y.high);
  script += SetTics('x', panel.x_tics) + SetTics('y', LogTics(panel.y));
  script += fmt::format("set xlabel {} textcolor rgb '#333333'\n", GnuplotString(panel.x_title));
  script += TextAt(figure, panel.frame.left + kLogTitleX, (area.bottom + area.top) / 2, panel.y_title,
                   {.align = "center", .rotated = true});
  script += TextAt(figure, area.left, area.top + 36, panel.title, {.bold = true});
  script += TextAt(figure, area.left, area.top + 16, panel.subtitle, {.color = "#555555"});
  std::string plots;
  for (std::size_t i = 0; i < panel.curves.size(); ++i) {
    script += fmt::format("$curve{} << EOD\n", i);
    for (const Point& point : panel.curves[i].points) script += fmt::format("{} {}\n", point.x, point.y);
    script += "EOD\n";
    plots += fmt::format("{}$curve{} using 1:2 with {} notitle", i == 0 ? "plot " : ", ", i, panel.curves[i].look);
  }
  script += plots + "\n";
}

}  // namespace marlin
