// Figures of dots with intervals on named lines: uniform_vs_mixed and calibration_effect.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "report/plot_parts.h"

namespace marlin {

struct Dot {
  std::size_t series = 0;  // index into the styles
  double x = 0;
  Interval x_95;
};

struct DotLine {
  std::string name;    // left of the line
  std::string remark;  // right of it
  std::vector<Dot> dots;
};

struct DotPanel {
  std::string title;
  std::string subtitle;
  std::string x_label;
  std::string remark_head;
  std::vector<DotLine> lines;  // from top to bottom, at least one, with at least one dot each
};

enum class DotLook {
  kJoined,  // the dots of a line at one height, with a bar between them
  kBeside,  // one below the other, so that intervals do not cover each other
};

Figure DotFigure(const std::vector<DotPanel>& panels, const std::vector<SeriesStyle>& series, DotLook look);

}  // namespace marlin
