#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "report/figures.h"
#include "report/labels.h"
#include "report/plot_parts.h"
#include "report/plots.h"
#include "report/table.h"
#include "report/timing_columns.h"

namespace marlin {
namespace {

// All in pixels.
constexpr double kBarsWidth = 1080;
constexpr double kBarsLegendHeight = 58;
constexpr double kBarHeight = 26;
constexpr double kBarsTop = 52;
constexpr double kBarsBottom = 56;
constexpr double kValueGap = 6;  // from the end of a bar or whisker to its number

// One model in one timing setting: a line of two panels.
struct PanelLine {
  std::string title;
  std::string subtitle;
  std::vector<TimedRow> rows;  // from top to bottom
};

// "fp4-g64" before "fp4-g128": digits compare as numbers.
bool NaturalLess(const std::string& a, const std::string& b) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  std::size_t i = 0;
  std::size_t j = 0;
  while (i < a.size() && j < b.size()) {
    if (digit(a[i]) && digit(b[j])) {
      const std::size_t i_end = std::min(a.find_first_not_of("0123456789", i), a.size());
      const std::size_t j_end = std::min(b.find_first_not_of("0123456789", j), b.size());
      if (i_end - i != j_end - j) return i_end - i < j_end - j;
      if (const int order = a.compare(i, i_end - i, b, j, j_end - j); order != 0) return order < 0;
      i = i_end;
      j = j_end;
    } else {
      if (a[i] != b[j]) return a[i] < b[j];
      ++i;
      ++j;
    }
  }
  return a.size() - i < b.size() - j;
}

// Rows of one setting: of one configuration on several texts the newer.
std::vector<TimedRow> RowsOf(const std::vector<TimedRow>& all) {
  std::map<std::string, TimedRow> newest;
  for (const TimedRow& timed : all) {
    const auto [slot, is_new] = newest.emplace(timed.row->name, timed);
    if (!is_new && slot->second.timing->record().created < timed.timing->record().created) slot->second = timed;
  }
  std::vector<TimedRow> rows;
  for (const auto& [name, timed] : newest) rows.push_back(timed);
  std::sort(rows.begin(), rows.end(), [](const TimedRow& a, const TimedRow& b) {
    if (a.row->is_baseline() != b.row->is_baseline()) return a.row->is_baseline();
    return NaturalLess(a.row->name, b.row->name);
  });
  return rows;
}

std::vector<PanelLine> CollectLines(const Analysis& analysis) {
  std::vector<PanelLine> lines;
  for (const ModelResults& model : analysis.models) {
    std::vector<const ResultRow*> all;
    for (const ResultGroup& group : model.groups) {
      for (const ResultRow& row : group.rows) all.push_back(&row);
    }
    const TimingColumns timings(all, &ResultRow::timings);
    for (std::size_t i = 0; i < timings.size(); ++i) {
      const TimingSetting& x = timings.settings()[i];
      PanelLine line{model.name, fmt::format("timing protocol {}; {}", timings.both_labels(i), HardwareText(x)),
                     RowsOf(timings.RowsIn(i, all))};
      if (line.rows.empty()) continue;
      line.subtitle += TimingRemark(line.rows);
      lines.push_back(std::move(line));
    }
  }
  return lines;
}

double LineHeight(const PanelLine& line) {
  return kBarsTop + kBarsBottom + kBarHeight * static_cast<double>(line.rows.size());
}

struct BarPanel {
  const PanelLine* line;
  const char* name;  // "prefill"
  std::optional<Speed> RowTiming::*speed;
  Box area;
  bool with_names;
  std::string extra;  // drawn with the panel: gnuplot draws labels only beside a plot
};

std::string_view ColorOf(const ResultRow& row, const std::vector<SeriesStyle>& styles) {
  for (const SeriesStyle& style : styles) {
    if (!row.is_baseline() && style.label == row.record().config.label) return style.color;
  }
  return kBaselineColor;
}

// Where bar and whisker end.
double EndOf(const Speed& speed) { return std::max(speed.tok_s, speed.p95_tok_s); }

std::string ValueText(const Speed& speed) {
  return FigureThreeDigits(speed.tok_s) + (speed.unstable() ? kUnstableMark : "");
}

// 1, 2 or 5 times a power of ten, so that the labels of an axis from 0 to x_max stand apart on so many pixels.
double TicStep(double x_max, double width) {
  const double label = TextWidth(fmt::format("{:.0f}", x_max), kFontPx) + 2 * kValueGap;
  const double least = x_max * label / width;
  const double power = std::pow(10.0, std::floor(std::log10(least)));
  for (const double digit : {1.0, 2.0, 5.0}) {
    if (digit * power >= least) return digit * power;
  }
  return 10 * power;
}

void DrawPanel(Figure& figure, const BarPanel& panel, const std::vector<SeriesStyle>& styles) {
  const std::vector<TimedRow>& rows = panel.line->rows;
  const Box& area = panel.area;
  std::string& script = figure.script;
  script += "unset label\n" + PlotArea(figure, area) + panel.extra;
  const double width = area.right - area.left;
  double x_max = 0;  // every number behind its bar ends inside the panel
  for (const TimedRow& row : rows) {
    const auto& speed = row.timing->*panel.speed;
    if (!speed) continue;
    const double room = width - kValueGap - TextWidth(ValueText(*speed), kFontPx);
    x_max = std::max(x_max, EndOf(*speed) * width / room);
  }
  if (x_max == 0) x_max = 1;
  script +=
      fmt::format("set xrange [0:{}]\nset yrange [0:{}]\nset xtics {:g}\n", x_max, rows.size(), TicStep(x_max, width));
  script += fmt::format("set xlabel '{}, tok/s' textcolor rgb '#333333'\n", panel.name);

  std::string bars;
  std::string errors;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double y = static_cast<double>(rows.size() - i) - 0.5;
    const double y_px = area.bottom + y * kBarHeight;
    if (panel.with_names) script += TextAt(figure, area.left - 8, y_px, rows[i].row->name, {.align = "right"});
    const std::optional<Speed>& speed = rows[i].timing->*panel.speed;
    if (!speed) {
      script += TextAt(figure, area.left + 6, y_px, kNotMeasured, {.color = "#777777"});
      continue;
    }
    // Colours as 0xRRGGBB for "linecolor rgb variable".
    bars += fmt::format("{} {} 0 {} {} {} 0x{}\n", speed->tok_s / 2, y, speed->tok_s, y - 0.36, y + 0.36,
                        ColorOf(*rows[i].row, styles).substr(1));
    errors += fmt::format("{} {} {} {}\n", speed->tok_s, y, speed->p5_tok_s, speed->p95_tok_s);
    const double end_px = area.left + EndOf(*speed) / x_max * width;
    script += TextAt(figure, end_px + kValueGap, y_px, ValueText(*speed), {});
  }
  if (bars.empty()) bars = errors = "0 -1 0 0 -1 -1 0\n";  // an empty panel, said so by its texts
  script += "$bars << EOD\n" + bars + "EOD\n$errors << EOD\n" + errors + "EOD\n";
  script +=
      "plot $bars using 1:2:3:4:5:6:7 with boxxyerror fillstyle solid 1 noborder linecolor rgb variable notitle, "
      "$errors using 1:2:3:4 with xerrorbars pointtype 0 linewidth 1.2 linecolor rgb '#222222' notitle\n";
}

// Bars have colours but no shapes.
std::vector<SeriesStyle> Squares(std::vector<SeriesStyle> styles) {
  constexpr int kFilledSquare = 5;
  styles.insert(styles.begin(), {"baseline", kBaselineColor, kFilledSquare});
  for (SeriesStyle& style : styles) style.point_type = kFilledSquare;
  return styles;
}

// What bars, whiskers and the mark mean.
std::string Explanation(const std::vector<PanelLine>& lines) {
  const auto unstable = [](const std::optional<Speed>& speed) { return speed && speed->unstable(); };
  bool marked = false;
  for (const PanelLine& line : lines) {
    for (const TimedRow& row : line.rows) {
      marked = marked || unstable(row.timing->prefill) || unstable(row.timing->decode);
    }
  }
  const std::string text = "bar: mean without outliers; whisker: 5th to 95th percentile of all samples";
  return marked ? text + ";" + kUnstableMark + " unstable" : text;
}

double NamesWidth(const std::vector<PanelLine>& lines) {
  double width = 0;
  for (const PanelLine& line : lines) {
    for (const TimedRow& row : line.rows) width = std::max(width, TextWidth(row.row->name, kFontPx));
  }
  return std::min(width, kBarsWidth / 3);
}

}  // namespace

std::optional<Figure> ThroughputFigure(const Analysis& analysis) {
  const std::vector<PanelLine> lines = CollectLines(analysis);
  if (lines.empty()) return std::nullopt;
  double height = kBarsLegendHeight;
  for (const PanelLine& line : lines) height += LineHeight(line);
  const std::vector<SeriesStyle> styles = StylesOf(analysis);
  Figure figure;
  figure.width_px = static_cast<int>(kBarsWidth);
  figure.height_px = static_cast<int>(height);
  figure.script =
      "set multiplot\nunset key\nunset ytics\nset border 3 linecolor rgb '#555555'\nset bars small\n"
      "set xtics nomirror out scale 0.6 textcolor rgb '#333333'\nset grid xtics linecolor rgb '#eeeeee' linetype 1 "
      "linewidth 1\n";
  const double left = NamesWidth(lines) + 24;
  const double panel_width = (kBarsWidth - left - 40) / 2;
  double top = height - kBarsLegendHeight;
  std::string titles = LegendAt(figure, left, height - 20, Squares(styles));
  titles += TextAt(figure, left, height - 42, Explanation(lines), {.color = "#555555"});
  for (const PanelLine& line : lines) {
    titles += TextAt(figure, left, top - 18, line.title, {.bold = true});
    titles += TextAt(figure, left, top - 36, line.subtitle, {.color = "#555555"});
    const double bottom = top - LineHeight(line) + kBarsBottom;
    const Box first = {left, bottom, left + panel_width, top - kBarsTop};
    const Box second = {left + panel_width + 28, bottom, left + 2 * panel_width + 28, top - kBarsTop};
    DrawPanel(figure, {&line, "prefill", &RowTiming::prefill, first, true, titles}, styles);
    DrawPanel(figure, {&line, "decode", &RowTiming::decode, second, false, ""}, styles);
    titles.clear();
    top -= LineHeight(line);
  }
  return figure;
}

}  // namespace marlin
