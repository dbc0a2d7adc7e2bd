#include "report/plot_parts.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <set>
#include <utility>

namespace marlin {
namespace {

std::string Screen(const Figure& figure, double x, double y) {
  return fmt::format("screen {:.5f},{:.5f}", x / figure.width_px, y / figure.height_px);
}

}  // namespace

SeriesStyle StyleAt(std::size_t i, std::string label) {
  // Okabe and Ito's colours, darkest first; black is for baselines. Point types: filled circle, square, triangle up,
  constexpr std::array<const char*, 6> kColors = {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"};
  // diamond, triangle down, pentagon, two crosses on each other, cross, plus.
  constexpr std::array<int, 9> kPoints = {7, 5, 9, 13, 11, 15, 3, 2, 1};
  return {std::move(label), kColors[i % kColors.size()], kPoints[i % kPoints.size()]};
}

std::vector<SeriesStyle> StylesOf(const Analysis& analysis) {
  std::set<std::string> labels;
  for (const StoredRecord* stored : analysis.shown) {
    const record::Config& config = stored->record.config;
    const bool made = config.kind != record::Kind::kBaseline && config.kind != record::Kind::kImported;
    if (made) labels.insert(config.label);
  }
  std::vector<SeriesStyle> styles;
  for (const std::string& label : labels) styles.push_back(StyleAt(styles.size(), label));
  return styles;
}

std::string TimingRemark(const std::vector<TimedRow>& rows) {
  std::set<std::string> runs;
  bool loaded = false;
  for (const TimedRow& row : rows) {
    runs.insert(TimingRun(row.timing->record()));
    loaded = loaded || ForeignLoad(row.timing->record().machine);
  }
  return (runs.size() > 1 ? fmt::format("; timed in {} runs", runs.size()) : "") +
         (loaded ? "; other programs were running" : "");
}

std::string TextAt(const Figure& figure, double x, double y, std::string_view text, TextStyle style) {
  return fmt::format("set label {} at {} {} front{} textcolor rgb '{}'{}\n", GnuplotString(text), Screen(figure, x, y),
                     style.align, style.rotated ? " rotate by 90" : "", style.color,
                     style.bold ? " font 'DejaVu Sans:Bold'" : "");
}

std::string LineAt(const Figure& figure, double x0, double y0, double x1, double y1, std::string_view look) {
  return fmt::format("set arrow from {} to {} nohead back {}\n", Screen(figure, x0, y0), Screen(figure, x1, y1), look);
}

std::string MarkAt(const Figure& figure, double x, double y, int point_type, std::string_view color) {
  return fmt::format("set label '' at {} point pointtype {} pointsize 1.2 linecolor rgb '{}'\n", Screen(figure, x, y),
                     point_type, color);
}

std::string PlotArea(const Figure& figure, const Box& area) {
  return fmt::format(
      "set lmargin at screen {:.5f}\nset rmargin at screen {:.5f}\nset bmargin at screen {:.5f}\n"
      "set tmargin at screen {:.5f}\n",
      area.left / figure.width_px, area.right / figure.width_px, area.bottom / figure.height_px,
      area.top / figure.height_px);
}

std::string LegendAt(const Figure& figure, double x, double y, const std::vector<SeriesStyle>& series) {
  std::string out;
  for (const SeriesStyle& style : series) {
    out += MarkAt(figure, x + 6, y, style.point_type, style.color);
    out += TextAt(figure, x + 18, y, style.label, {});
    x += 18 + TextWidth(style.label, kFontPx) + 22;
  }
  return out;
}

std::vector<double> LogTics(const Interval& range) {
  static const std::array<std::vector<int>, 3> kSteps = {{{1}, {1, 2, 5}, {1, 2, 3, 4, 5, 6, 7, 8, 9}}};
  constexpr std::size_t kEnough = 4;
  std::vector<double> tics;
  for (const std::vector<int>& digits : kSteps) {
    tics.clear();
    const int last = static_cast<int>(std::floor(std::log10(range.high)));
    for (int decade = static_cast<int>(std::floor(std::log10(range.low))); decade <= last; ++decade) {
      for (const int digit : digits) {
        const double tic = digit * std::pow(10.0, decade);
        if (range.low <= tic && tic <= range.high) tics.push_back(tic);
      }
    }
    if (tics.size() >= kEnough) break;
  }
  return tics;
}

std::string SetTics(char axis, const std::vector<double>& tics) {
  if (tics.empty()) return "";
  std::string list;
  for (const double tic : tics) list += fmt::format("{}'{:g}' {:g}", list.empty() ? "" : ", ", tic, tic);
  return fmt::format("set {}tics ({})\n", axis, list);
}

}  // namespace marlin
