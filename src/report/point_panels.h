// Figures made of panels with named points and intervals: ppl_vs_compression and kl_vs_bpw.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "report/plot_parts.h"

namespace marlin {

// The colour of a point is its type, the shape its method; what another program quantized is hollow and black.
struct PlotPoint {
  double x = 0;
  double y = 0;
  Interval y_95;
  std::string type;  // label of a SeriesStyle
  std::string method;
  bool imported = false;
  std::string config;  // its name without method and calibration text
  std::string label;   // its full name, and the other text beside the point
};

// The point of a row, labelled with the row's name.
PlotPoint PointOf(const ResultRow& row, double x, double y, const Interval& y_95);

// Whether one of the rows is this one by another calibration text: calibration_effect compares those.
bool IsOtherText(const ResultRow& row, const std::vector<const ResultRow*>& drawn);

// With more points than this a panel names each configuration once, at its uppermost point.
inline constexpr std::size_t kMostLabels = 9;

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
  bool side_by_side = false;      // points of different methods are a few pixels apart: at one x their bars would hide
};

struct AxisTitles {
  std::string x;
  std::string y;
};

// `types` are the colours; those that no point has are left out of the legend. `look` are the gnuplot settings that all
// panels share.
Figure PointFigure(std::vector<PointPanel> panels, const std::vector<SeriesStyle>& types, const AxisTitles& titles,
                   const std::string& look);

}  // namespace marlin
