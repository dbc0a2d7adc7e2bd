// Figures made of panels with named points and intervals: ppl_vs_compression and kl_vs_bpw.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "report/plot_parts.h"

namespace marlin {

struct PlotPoint {
  double x = 0;
  double y = 0;
  Interval y_95;
  std::string type;  // of the series: label of a SeriesStyle
  std::string label;
};

enum class Scale { kLinear, kLog };

// What the axes show. On a logarithmic scale y.low is above 0.
struct Axes {
  Interval x;
  Interval y;
  Scale y_scale = Scale::kLinear;
};

// A horizontal line with its name above it.
struct Guide {
  double y = 0;
  std::string name;
  bool strong = false;
};

struct PointPanel {
  std::string title;
  std::string subtitle;
  std::string label_key;  // what marks and numbers mean
  std::vector<PlotPoint> points;
  Axes axes;
  std::vector<Guide> guides;      // from bottom to top
  std::vector<PlotPoint> stairs;  // the corners of a line down to the right, by x; empty = none
  std::string note;               // a line inside, at the bottom
  std::vector<double> y_tics;     // empty = gnuplot chooses
};

// `look` are the gnuplot settings that all panels share. Series that no point belongs to are left out of the legend.
Figure PointFigure(const std::vector<PointPanel>& panels, std::vector<SeriesStyle> styles, const std::string& look);

}  // namespace marlin
