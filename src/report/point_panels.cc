#include "report/point_panels.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "report/table.h"

namespace marlin {
namespace {

// All in pixels.
constexpr double kPanelWidth = 640;
constexpr double kPanelHeight = 470;
constexpr double kLegendLine = 20;
constexpr double kLegendMark = 22;  // from a mark to its text
constexpr double kLegendGap = 18;
constexpr double kLeft = 80;
constexpr double kTitleX = 14;  // of the y axis, from the panel's edge
constexpr double kRight = 16;
constexpr double kBottom = 54;
constexpr double kTop = 70;
constexpr double kMarkRadius = 7;
constexpr double kLabelHeight = 15;
constexpr double kApart = 9;  // points of two methods

constexpr int kHollowCircle = 6;
constexpr const char* kImportedColor = "#222222";

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
// left out too: it would run through another line's name, and would not be readable.
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

// Index and text of the labels to draw: of every point, or of the uppermost of each configuration.
std::vector<std::pair<std::size_t, std::string>> LabelsOf(const std::vector<PlotPoint>& points) {
  std::vector<std::pair<std::size_t, std::string>> labels;
  if (points.size() <= kMostLabels) {
    for (std::size_t i = 0; i < points.size(); ++i) labels.emplace_back(i, points[i].label);
    return labels;
  }
  std::map<std::string, std::size_t> uppermost;
  for (std::size_t i = 0; i < points.size(); ++i) {
    std::size_t& found = uppermost.emplace(points[i].config, i).first->second;
    if (points[i].y > points[found].y) found = i;
  }
  for (const auto& [config, i] : uppermost) labels.emplace_back(i, config);
  return labels;
}

void DrawLabels(Figure& figure, const Box& area, const PointPanel& panel, const Projection& to_px,
                std::vector<Box> marks) {
  for (const PlotPoint& point : panel.points) {
    const double x = to_px.X(point.x);
    const double y = to_px.Y(point.y);
    marks.push_back({x - kMarkRadius, y - kMarkRadius, x + kMarkRadius, y + kMarkRadius});
    marks.push_back({x - 3, to_px.Y(point.y_95.low), x + 3, to_px.Y(point.y_95.high)});
  }
  const auto labels = LabelsOf(panel.points);
  std::vector<LabelRequest> requests;
  for (const auto& [i, text] : labels) {
    const PlotPoint& point = panel.points[i];
    requests.push_back({to_px.X(point.x), to_px.Y(point.y), TextWidth(text, kFontPx), kLabelHeight});
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
    figure.script += TextAt(figure, x, middle, labels[i].second,
                            {.align = left_of_point    ? "right"
                                      : right_of_point ? "left"
                                                       : "center"});
  }
}

// One look of points: `type` and `method` in colour and shape, or everything imported.
struct Series {
  std::string type;
  std::string method;
  bool imported = false;
  std::string color;
  int point_type = 0;

  bool Holds(const PlotPoint& x) const {
    return imported ? x.imported : !x.imported && x.type == type && x.method == method;
  }
  std::string Data(const std::vector<PlotPoint>& points) const {
    std::string out;
    for (const PlotPoint& x : points) {
      if (Holds(x)) out += fmt::format("{} {} {} {}\n", x.x, x.y, x.y_95.low, x.y_95.high);
    }
    return out;
  }
};

// What the points of a figure look like, and the legend that says so.
struct Looks {
  std::vector<SeriesStyle> types;    // the colours
  std::vector<SeriesStyle> methods;  // the shapes
  bool imported = false;

  std::vector<Series> series() const {
    std::vector<Series> all;
    for (const SeriesStyle& type : types) {
      for (const SeriesStyle& method : methods) {
        all.push_back({type.label, method.label, false, type.color, method.point_type});
      }
    }
    if (imported) all.push_back({"", "", true, kImportedColor, kHollowCircle});
    return all;
  }
};

Looks LooksOf(const std::vector<PointPanel>& panels, const std::vector<SeriesStyle>& types) {
  Looks looks;
  std::set<std::string> used;
  std::set<std::string> methods;
  for (const PointPanel& panel : panels) {
    for (const PlotPoint& point : panel.points) {
      looks.imported = looks.imported || point.imported;
      if (point.imported) continue;
      used.insert(point.type);
      methods.insert(point.method);
    }
  }
  for (const SeriesStyle& type : types) {
    if (used.contains(type.label)) looks.types.push_back(type);
  }
  for (const std::string& method : methods) looks.methods.push_back(StyleAt(looks.methods.size(), method));
  return looks;
}

// A mark with its meaning; point type 0 is a stroke in the colour.
struct LegendEntry {
  std::string label;
  std::string color;
  int point_type = 0;
  double x = 0;
  std::size_t line = 0;
};

// The colours, then on a new line the shapes; broken where they would leave the figure.
std::vector<LegendEntry> LegendOf(const Looks& looks, double width) {
  std::vector<LegendEntry> entries;
  double x = kLeft;
  std::size_t line = 0;
  const auto add = [&](const std::string& label, const std::string& color, int point_type) {
    const double entry_width = kLegendMark + TextWidth(label, kFontPx) + kLegendGap;
    if (x > kLeft && x + entry_width > width) {
      x = kLeft;
      ++line;
    }
    entries.push_back({label, color, point_type, x, line});
    x += entry_width;
  };
  for (const SeriesStyle& type : looks.types) add(type.label, type.color, 0);
  if (!entries.empty()) ++line;
  x = kLeft;
  for (const SeriesStyle& method : looks.methods) add(method.label, "#333333", method.point_type);
  if (looks.imported) add("imported: made by another program", kImportedColor, kHollowCircle);
  return entries;
}

std::string DrawLegend(const Figure& figure, const std::vector<LegendEntry>& entries) {
  std::string out;
  for (const LegendEntry& entry : entries) {
    const double y = figure.height_px - kLegendLine * (static_cast<double>(entry.line) + 0.8);
    out += entry.point_type == 0
               ? LineAt(figure, entry.x, y, entry.x + 15, y, fmt::format("linecolor rgb '{}' linewidth 6", entry.color))
               : MarkAt(figure, entry.x + 8, y, entry.point_type, entry.color);
    out += TextAt(figure, entry.x + kLegendMark, y, entry.label, {});
  }
  return out;
}

// Moves the points of each of the panel's methods aside, the middle one not at all.
void SetApart(PointPanel& panel, double width_px) {
  std::set<std::string> methods;
  for (const PlotPoint& point : panel.points) {
    if (!point.imported) methods.insert(point.method);
  }
  const double unit = (panel.axes.x.high - panel.axes.x.low) / width_px;
  const double middle = 0.5 * (static_cast<double>(methods.size()) - 1);
  for (PlotPoint& point : panel.points) {
    if (point.imported) continue;
    const auto index = std::distance(methods.begin(), methods.find(point.method));
    point.x += (static_cast<double>(index) - middle) * kApart * unit;
  }
}

// `extra` is drawn with the panel: gnuplot draws labels only beside a plot.
void DrawPanel(Figure& figure, PointPanel panel, const Box& frame, const Looks& looks, const std::string& y_title,
               const std::string& extra) {
  const Box area = {frame.left + kLeft, frame.bottom + kBottom, frame.right - kRight, frame.top - kTop};
  if (panel.side_by_side) SetApart(panel, area.right - area.left);
  const Axes& axes = panel.axes;
  const Projection to_px(area, axes);
  std::string& script = figure.script;
  script += "unset label\nunset arrow\n" + PlotArea(figure, area) + extra;
  script += fmt::format("set xrange [{}:{}]\nset yrange [{}:{}]\n", axes.x.low, axes.x.high, axes.y.low, axes.y.high);
  script += SetTics('y', panel.y_tics);
  script +=
      TextAt(figure, frame.left + kTitleX, (area.bottom + area.top) / 2, y_title, {.align = "center", .rotated = true});
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
  int blocks = 0;
  for (const Series& series : looks.series()) {
    const std::string data = series.Data(panel.points);
    if (data.empty()) continue;
    script += fmt::format("$series{} << EOD\n{}EOD\n", blocks, data);
    plots += fmt::format(
        "{}$series{} using 1:2:3:4 with yerrorbars pointtype {} pointsize {} linewidth {} linecolor rgb '{}' notitle",
        plots.empty() ? "plot " : ", ", blocks, series.point_type, series.imported ? 1.5 : 1.2,
        series.imported ? 1.8 : 1.2, series.color);
    ++blocks;
  }
  script += plots + "\n";
}

}  // namespace

PlotPoint PointOf(const ResultRow& row, double x, double y, const Interval& y_95) {
  const record::Config& config = row.record().config;
  return {x,
          y,
          y_95,
          config.label,
          config.method,
          config.kind == record::Kind::kImported,
          OneLine(ConfigName(row.record())),
          OneLine(row.name)};
}

bool IsOtherText(const ResultRow& row, const std::vector<const ResultRow*>& drawn) {
  const Record& record = row.record();
  if (!record.config.calibration) return false;
  return std::ranges::any_of(drawn, [&](const ResultRow* other) {
    return other->record().config.calibration && ConfigName(other->record()) == ConfigName(record) &&
           other->record().config.method == record.config.method;
  });
}

Figure PointFigure(std::vector<PointPanel> panels, const std::vector<SeriesStyle>& types, const AxisTitles& titles,
                   const std::string& look) {
  const Looks looks = LooksOf(panels, types);
  const std::size_t columns = panels.size() == 1 ? 1 : 2;
  const std::size_t lines = (panels.size() + columns - 1) / columns;
  const double panel_width = columns == 1 ? 800 : kPanelWidth;
  const double width = static_cast<double>(columns) * panel_width;
  const std::vector<LegendEntry> entries = LegendOf(looks, width);
  const double legend_height = kLegendLine * static_cast<double>(entries.back().line + 1) + 8;
  Figure figure;
  figure.width_px = static_cast<int>(width);
  figure.height_px = static_cast<int>(static_cast<double>(lines) * kPanelHeight + legend_height);
  figure.script =
      "set multiplot\nunset key\nset border 3 linecolor rgb '#555555'\nset tics nomirror out scale 0.6 textcolor rgb "
      "'#333333'\nset grid linecolor rgb '#eeeeee' linetype 1 linewidth 1\n" +
      look + fmt::format("set xlabel {} textcolor rgb '#333333'\n", GnuplotString(titles.x));
  std::string legend = DrawLegend(figure, entries);
  for (std::size_t i = 0; i < panels.size(); ++i) {
    const double left = static_cast<double>(i % columns) * panel_width;
    const double top = figure.height_px - legend_height - static_cast<double>(i / columns) * kPanelHeight;
    DrawPanel(figure, std::move(panels[i]), {left, top - kPanelHeight, left + panel_width, top}, looks, titles.y,
              legend);
    legend.clear();
  }
  return figure;
}

}  // namespace marlin
