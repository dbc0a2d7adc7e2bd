// Common parts of the figures: texts at pixel positions, plot areas, styles of the series. The origin of all positions
// is at the bottom left.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/statistics.h"
#include "records/analysis.h"
#include "report/gnuplot.h"
#include "report/labels.h"
#include "report/timing_columns.h"

namespace marlin {

// How a type of quantization looks in every figure: a colour that colour-blind people tell apart (Okabe and Ito 2008)
// and a shape of its own.
struct SeriesStyle {
  std::string label;
  std::string color;  // "#0072B2"
  int point_type = 0;
};

inline constexpr const char* kBaselineColor = "#777777";

// Behind a speed whose timing is unstable; a figure that uses it says so.
inline constexpr const char* kUnstableMark = " ‡";

// The i-th colour and shape, with this name.
SeriesStyle StyleAt(std::size_t i, std::string label);

// One style per type that this program made, in the order of the types' names; baselines have none.
std::vector<SeriesStyle> StylesOf(const Analysis& analysis);

// Why speeds of these rows may differ for another reason than the configuration: "; timed in 2 runs; other programs
// were running". Empty when nothing of that kind is known.
std::string TimingRemark(const std::vector<TimedRow>& rows);

struct TextStyle {
  std::string_view align = "left";  // "left", "center", "right"
  std::string_view color = "#333333";
  bool bold = false;
  bool rotated = false;  // from bottom to top
};
std::string TextAt(const Figure& figure, double x, double y, std::string_view text, TextStyle style);

std::string LineAt(const Figure& figure, double x0, double y0, double x1, double y1, std::string_view look);

std::string MarkAt(const Figure& figure, double x, double y, int point_type, std::string_view color);

// Fixes the next plot to these pixels.
std::string PlotArea(const Figure& figure, const Box& area);

// A line of marks and their meaning that starts at (x, y).
std::string LegendAt(const Figure& figure, double x, double y, const std::vector<SeriesStyle>& series);

// Round numbers inside the range, for a logarithmic axis: decades when there are many, else 1, 2, 5, or all the digits.
std::vector<double> LogTics(const Interval& range);

// Numbers of the axis 'x' or 'y' at these places; gnuplot's own choice when there are none.
std::string SetTics(char axis, const std::vector<double>& tics);

}  // namespace marlin
