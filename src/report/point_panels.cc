#include "report/point_panels.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace marlin {
namespace {

// All in pixels.
constexpr double kPanelWidth = 640;
constexpr double kPanelHeight = 470;
constexpr double kLegendHeight = 40;
constexpr double kLeft = 72;
constexpr double kRight = 16;
constexpr double kBottom = 54;
constexpr double kTop = 70;
constexpr double kMarkRadius = 7;
constexpr double kLabelHeight = 15;

// Data to pixels inside one panel.
class Projection {
 public:
  Projection(const Box& area, const Axes& axes) : area_(area), axes_(axes) {}
  double X(double x) const {
    return area_.left + (x - axes_.x.low) / (axes_.x.high - axes_.x.low) * (area_.right - area_.left);
  }
  double Y(double y) const {
    const double low = Scaled(axes_.y.low);
    return area_.bottom + (Scaled(y) - low) / (Scaled(axes_.y.high) - low) * (area_.top - area_.bottom);
  }

 private:
  double Scaled(double y) const { return axes_.y_scale == Scale::kLog ? std::log10(std::max(y, axes_.y.low)) : y; }

  Box area_;
  Axes axes_;
};

// Lines with their names above them; returns what they cover. Where the scale leaves no room for a name the line is
// left out too: it would run through another line's name, and nobody could tell what it is.
std::vector<Box> DrawGuides(Figure& figure, const Box& area, const PointPanel& panel, const Projection& to_px) {
  std::vector<Box> covered;
  double free_from = area.bottom;  // above the last name
  for (const Guide& guide : panel.guides) {
    const double y = to_px.Y(guide.y);
    if (y < free_from || y + kLabelHeight > area.top) continue;
    free_from = y + kLabelHeight;
    figure.script += LineAt(
        figure, area.left, y, area.right, y,
        guide.strong ? "linecolor rgb '#555555' linewidth 1.2" : "linecolor rgb '#888888' linewidth 1 dashtype 2");
    covered.push_back({area.left, y - 1, area.right, y + 1});
    figure.script += TextAt(figure, area.right - 4, y + 8, guide.name, {.align = "right", .color = "#777777"});
    covered.push_back({area.right - 4 - TextWidth(guide.name, kFontPx), y, area.right, y + kLabelHeight});
  }
  return covered;
}

// To the right, then down to the next corner; from the first corner up and from the last one to the right edge. Returns
// what the lines cover.
std::vector<Box> DrawStairs(Figure& figure, const Box& area, const PointPanel& panel, const Projection& to_px) {
  constexpr std::string_view kLook = "linecolor rgb '#c4c4c4' linewidth 1.2";
  std::vector<Box> covered;
  const auto line = [&](double x0, double y0, double x1, double y1) {
    figure.script += LineAt(figure, x0, y0, x1, y1, kLook);
    covered.push_back({std::min(x0, x1) - 1, std::min(y0, y1) - 1, std::max(x0, x1) + 1, std::max(y0, y1) + 1});
  };
  double above = area.top;
  for (std::size_t i = 0; i < panel.stairs.size(); ++i) {
    const double x = to_px.X(panel.stairs[i].x);
    const double y = to_px.Y(panel.stairs[i].y);
    const double next = i + 1 < panel.stairs.size() ? to_px.X(panel.stairs[i + 1].x) : area.right;
    line(x, above, x, y);
    line(x, y, next, y);
    above = y;
  }
  return covered;
}

std::vector<Box> DrawNote(Figure& figure, const Box& area, const std::string& note) {
  if (note.empty()) return {};
  figure.script += TextAt(figure, area.left + 6, area.bottom + 10, note, {.color = "#777777"});
  return {{area.left, area.bottom, area.left + 6 + TextWidth(note, kFontPx), area.bottom + kLabelHeight + 3}};
}

void DrawLabels(Figure& figure, const Box& area, const PointPanel& panel, const Projection& to_px,
                std::vector<Box> marks) {
  std::vector<LabelRequest> requests;
  for (const PlotPoint& point : panel.points) {
    const double x = to_px.X(point.x);
    const double y = to_px.Y(point.y);
    requests.push_back({x, y, TextWidth(point.label, kFontPx), kLabelHeight});
    marks.push_back({x - kMarkRadius, y - kMarkRadius, x + kMarkRadius, y + kMarkRadius});
    marks.push_back({x - 3, to_px.Y(point.y_95.low), x + 3, to_px.Y(point.y_95.high)});
  }
  const Box inside = {area.left + 4, area.bottom + 4, area.right - 4, area.top - 4};
  const std::vector<PlacedLabel> placed = PlaceLabels(requests, inside, marks);
  for (std::size_t i = 0; i < placed.size(); ++i) {
    const Box& box = placed[i].box;
    const double middle = (box.bottom + box.top) / 2;
    if (placed[i].leader) {
      figure.script += LineAt(figure, requests[i].x, requests[i].y, std::clamp(requests[i].x, box.left, box.right),
                              std::clamp(requests[i].y, box.bottom, box.top), "linecolor rgb '#999999' linewidth 0.8");
    }
    // Text that ends towards its point is aligned to that side; the width is only an estimate.
    const bool left_of_point = box.right <= requests[i].x;
    const bool right_of_point = box.left >= requests[i].x;
    const double x = left_of_point ? box.right : right_of_point ? box.left : (box.left + box.right) / 2;
    figure.script += TextAt(figure, x, middle, panel.points[i].label,
                            {.align = left_of_point    ? "right"
                                      : right_of_point ? "left"
                                                       : "center"});
  }
}

std::string Data(const std::vector<PlotPoint>& points, const std::string& type) {
  std::string out;
  for (const PlotPoint& point : points) {
    if (point.type == type) out += fmt::format("{} {} {} {}\n", point.x, point.y, point.y_95.low, point.y_95.high);
  }
  return out;
}

std::string Tics(const std::vector<double>& tics) {
  if (tics.empty()) return "";
  std::string out;
  for (const double tic : tics) out += fmt::format("{}'{:g}' {:g}", out.empty() ? "" : ", ", tic, tic);
  return "set ytics (" + out + ")\n";
}

// `extra` is drawn with the panel: gnuplot draws labels only beside a plot.
void DrawPanel(Figure& figure, const PointPanel& panel, const Box& frame, const std::vector<SeriesStyle>& styles,
               const std::string& extra) {
  const Box area = {frame.left + kLeft, frame.bottom + kBottom, frame.right - kRight, frame.top - kTop};
  const Axes& axes = panel.axes;
  const Projection to_px(area, axes);
  std::string& script = figure.script;
  script += "unset label\nunset arrow\n" + PlotArea(figure, area) + extra;
  script += fmt::format("set xrange [{}:{}]\nset yrange [{}:{}]\n", axes.x.low, axes.x.high, axes.y.low, axes.y.high);
  script += Tics(panel.y_tics);
  script += TextAt(figure, area.left, area.top + 50, panel.title, {.bold = true});
  script += TextAt(figure, area.left, area.top + 32, panel.subtitle, {.color = "#555555"});
  if (!panel.label_key.empty()) {
    script += TextAt(figure, area.left, area.top + 14, panel.label_key, {.color = "#555555"});
  }
  std::vector<Box> covered = DrawGuides(figure, area, panel, to_px);
  for (const Box& box : DrawStairs(figure, area, panel, to_px)) covered.push_back(box);
  for (const Box& box : DrawNote(figure, area, panel.note)) covered.push_back(box);
  DrawLabels(figure, area, panel, to_px, std::move(covered));
  std::string plots;
  for (std::size_t i = 0; i < styles.size(); ++i) {
    const std::string data = Data(panel.points, styles[i].label);
    if (data.empty()) continue;
    script += fmt::format("$series{} << EOD\n{}EOD\n", i, data);
    plots += fmt::format(
        "{}$series{} using 1:2:3:4 with yerrorbars pointtype {} pointsize 1.2 linewidth 1.2 "
        "linecolor rgb '{}' notitle",
        plots.empty() ? "plot " : ", ", i, styles[i].point_type, styles[i].color);
  }
  script += plots + "\n";
}

bool Holds(const PointPanel& panel, const std::string& type) {
  return std::any_of(panel.points.begin(), panel.points.end(), [&](const PlotPoint& x) { return x.type == type; });
}

}  // namespace

Figure PointFigure(const std::vector<PointPanel>& panels, std::vector<SeriesStyle> styles, const std::string& look) {
  std::erase_if(styles, [&](const SeriesStyle& style) {
    return std::none_of(panels.begin(), panels.end(), [&](const PointPanel& x) { return Holds(x, style.label); });
  });
  const std::size_t columns = panels.size() == 1 ? 1 : 2;
  const std::size_t lines = (panels.size() + columns - 1) / columns;
  const double panel_width = columns == 1 ? 800 : kPanelWidth;
  Figure figure;
  figure.width_px = static_cast<int>(static_cast<double>(columns) * panel_width);
  figure.height_px = static_cast<int>(static_cast<double>(lines) * kPanelHeight + kLegendHeight);
  figure.script =
      "set multiplot\nunset key\nset border 3 linecolor rgb '#555555'\nset tics nomirror out scale 0.6 textcolor rgb "
      "'#333333'\nset grid linecolor rgb '#eeeeee' linetype 1 linewidth 1\n" +
      look;
  std::string legend = LegendAt(figure, kLeft, figure.height_px - kLegendHeight / 2, styles);
  for (std::size_t i = 0; i < panels.size(); ++i) {
    const double left = static_cast<double>(i % columns) * panel_width;
    const double top = figure.height_px - kLegendHeight - static_cast<double>(i / columns) * kPanelHeight;
    DrawPanel(figure, panels[i], {left, top - kPanelHeight, left + panel_width, top}, styles, legend);
    legend.clear();
  }
  return figure;
}

}  // namespace marlin
