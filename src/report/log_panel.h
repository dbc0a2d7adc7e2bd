// Plots with two logarithmic axes, and figures made of them.
#pragma once

#include <string>
#include <vector>

#include "base/statistics.h"
#include "report/plot_parts.h"

namespace marlin {

struct Point {
  double x = 0;
  double y = 0;
};

struct Curve {
  std::vector<Point> points;
  std::string look;  // the text after "with"
};

// One plot. Both axes begin above 0.
struct LogPanel {
  Box frame;
  std::string title;
  std::string subtitle;
  std::string x_title;
  std::string y_title;
  Interval x;
  Interval y;
  std::vector<double> x_tics;
  std::vector<Curve> curves;

  // In pixels: the area of the data, and the position of a value.
  Box area() const;
  double X(double value) const;
  double Y(double value) const;
};

// From the left edge of a panel to its y axis, in pixels.
inline constexpr double kLogLeft = 76;

// A figure for panels of `width` x `height` pixels together, below a legend of the styles. The legend is added to
// `texts`.
Figure MakeLogFigure(double width, double height, const std::vector<SeriesStyle>& styles, std::string& texts);

// `texts` are drawn with the panel: gnuplot draws labels only beside a plot.
void DrawLogPanel(Figure& figure, const LogPanel& panel, const std::string& texts);

}  // namespace marlin
