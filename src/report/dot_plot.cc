#include "report/dot_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace marlin {
namespace {

// All in pixels.
constexpr double kDotsWidth = 1080;
constexpr double kDotsLegendHeight = 40;
constexpr double kLineHeight = 30;
constexpr double kDotHeight = 13;  // of one of several dots, one below the other
constexpr double kDotsTop = 52;
constexpr double kDotsBottom = 56;
constexpr double kDotsGap = 12;
constexpr double kWidest = kDotsWidth / 3;  // of the texts beside the lines

double DotLineHeight(const std::vector<SeriesStyle>& series, DotLook look) {
  if (look == DotLook::kJoined) return kLineHeight;
  return std::max(kLineHeight, 10 + kDotHeight * static_cast<double>(series.size()));
}

double Widest(const std::vector<DotPanel>& panels, std::string DotLine::*text) {
  double width = 0;
  for (const DotPanel& panel : panels) {
    for (const DotLine& line : panel.lines) width = std::max(width, TextWidth(line.*text, kFontPx));
    if (text == &DotLine::remark) width = std::max(width, TextWidth(panel.remark_head, kFontPx));
  }
  return std::min(width, kWidest);
}

Interval RangeOf(const DotPanel& panel) {
  const Dot& first = panel.lines.front().dots.front();
  Interval range = {first.x, first.x};
  for (const DotLine& line : panel.lines) {
    for (const Dot& dot : line.dots) {
      range = {std::min({range.low, dot.x, dot.x_95.low}), std::max({range.high, dot.x, dot.x_95.high})};
    }
  }
  const double room = std::max(0.06 * (range.high - range.low), 1e-3 * std::max(std::abs(range.high), 1e-9));
  return {range.low - room, range.high + room};
}

struct Frame {
  Box area;
  double line_height = 0;
  std::string extra;  // drawn with the panel: gnuplot draws labels only beside a plot
};

// Data lines of one series, and the bars between the dots of a line. y counts pixels from the bottom of the area.
class PanelData {
 public:
  PanelData(const DotPanel& panel, std::size_t series_count, double line_height, DotLook look) : dots_(series_count) {
    for (std::size_t i = 0; i < panel.lines.size(); ++i) {
      const double middle = (static_cast<double>(panel.lines.size() - i) - 0.5) * line_height;
      double low = panel.lines[i].dots.front().x;
      double high = low;
      for (const Dot& dot : panel.lines[i].dots) {
        const double below =
            (static_cast<double>(dot.series) - 0.5 * static_cast<double>(series_count - 1)) * kDotHeight;
        const double y = look == DotLook::kJoined ? middle : middle - below;
        dots_[dot.series] += fmt::format("{} {} {} {}\n", dot.x, y, dot.x_95.low, dot.x_95.high);
        low = std::min(low, dot.x);
        high = std::max(high, dot.x);
      }
      if (look == DotLook::kJoined) bars_ += fmt::format("{} {} {} 0\n", low, middle, high - low);
    }
  }
  const std::string& dots(std::size_t series) const { return dots_[series]; }
  const std::string& bars() const { return bars_; }

 private:
  std::vector<std::string> dots_;
  std::string bars_;
};

void DrawPanel(Figure& figure, const DotPanel& panel, const Frame& frame, const std::vector<SeriesStyle>& series,
               DotLook look) {
  const Box& area = frame.area;
  const Interval range = RangeOf(panel);
  std::string& script = figure.script;
  script += "unset label\n" + PlotArea(figure, area) + frame.extra;
  script += fmt::format("set xrange [{}:{}]\nset yrange [0:{}]\nset xlabel {} textcolor rgb '#333333'\n", range.low,
                        range.high, area.top - area.bottom, GnuplotString(panel.x_label));
  script += TextAt(figure, area.right + kDotsGap, area.top + 16, panel.remark_head, {.color = "#555555"});
  for (std::size_t i = 0; i < panel.lines.size(); ++i) {
    const double y = area.bottom + (static_cast<double>(panel.lines.size() - i) - 0.5) * frame.line_height;
    script +=
        TextAt(figure, area.left - kDotsGap, y, ClipText(panel.lines[i].name, kWidest, kFontPx), {.align = "right"});
    script += TextAt(figure, area.right + kDotsGap, y, ClipText(panel.lines[i].remark, kWidest, kFontPx),
                     {.color = "#555555"});
  }
  const PanelData data(panel, series.size(), frame.line_height, look);
  std::string plots;
  if (!data.bars().empty()) {
    script += "$bars << EOD\n" + data.bars() + "EOD\n";
    plots = "plot $bars using 1:2:3:4 with vectors nohead linewidth 4 linecolor rgb '#dddddd' notitle";
  }
  for (std::size_t i = 0; i < series.size(); ++i) {
    if (data.dots(i).empty()) continue;
    script += fmt::format("$series{} << EOD\n{}EOD\n", i, data.dots(i));
    plots += fmt::format(
        "{}$series{} using 1:2:3:4 with xerrorbars pointtype {} pointsize 1.2 linewidth 1.2 linecolor rgb '{}' notitle",
        plots.empty() ? "plot " : ", ", i, series[i].point_type, series[i].color);
  }
  script += plots + "\n";
}

}  // namespace

Figure DotFigure(const std::vector<DotPanel>& panels, const std::vector<SeriesStyle>& series, DotLook look) {
  const double line_height = DotLineHeight(series, look);
  double height = kDotsLegendHeight;
  for (const DotPanel& panel : panels)
    height += kDotsTop + kDotsBottom + line_height * static_cast<double>(panel.lines.size());
  Figure figure;
  figure.width_px = static_cast<int>(kDotsWidth);
  figure.height_px = static_cast<int>(height);
  figure.script =
      "set multiplot\nunset key\nunset ytics\nset border 1 linecolor rgb '#555555'\nset bars small\n"
      "set xtics nomirror out scale 0.6 textcolor rgb '#333333'\nset grid xtics linecolor rgb '#eeeeee' linetype 1 "
      "linewidth 1\n";
  const double left = Widest(panels, &DotLine::name) + 2 * kDotsGap;
  const double right = kDotsWidth - Widest(panels, &DotLine::remark) - 2 * kDotsGap;
  std::string titles = LegendAt(figure, left, height - kDotsLegendHeight / 2, series);
  double top = height - kDotsLegendHeight;
  for (const DotPanel& panel : panels) {
    const double area_top = top - kDotsTop;
    const double area_bottom = area_top - line_height * static_cast<double>(panel.lines.size());
    titles += TextAt(figure, left, top - 18, panel.title, {.bold = true});
    titles += TextAt(figure, left, top - 36, panel.subtitle, {.color = "#555555"});
    DrawPanel(figure, panel, {{left, area_bottom, right, area_top}, line_height, titles}, series, look);
    titles.clear();
    top = area_bottom - kDotsBottom;
  }
  return figure;
}

}  // namespace marlin
