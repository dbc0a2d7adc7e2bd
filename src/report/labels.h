// Places the names of points in a crowded plot: near their points, not on each other, and off the marks if possible.
// Units are pixels, the origin is at the bottom left.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace marlin {

struct Box {
  double left = 0;
  double bottom = 0;
  double right = 0;
  double top = 0;
};

double OverlapArea(const Box& a, const Box& b);

struct LabelRequest {
  double x = 0;  // of the point
  double y = 0;
  double width = 0;  // of the text
  double height = 0;
};

struct PlacedLabel {
  Box box;
  bool leader = false;  // far enough from its point to need a line to it
};

// One box per request, inside `area` where it fits. Boxes do not overlap as long as there is room. `marks` are best
// left free: points, error bars, lines of text. Deterministic.
std::vector<PlacedLabel> PlaceLabels(std::span<const LabelRequest> requests, const Box& area,
                                     std::span<const Box> marks);

// Width of a line in DejaVu Sans or Verdana, on the safe side.
double TextWidth(std::string_view text, double font_px);

// The text, or as much of it as fits the width, followed by "...".
std::string ClipText(std::string_view text, double width, double font_px);

}  // namespace marlin
