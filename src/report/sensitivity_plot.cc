// layer_sensitivity: the loss of each unit of a model when only it is quantized, as a heat map.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "report/comparisons.h"
#include "report/figures.h"
#include "report/page_sections.h"
#include "report/plot_parts.h"
#include "report/plots.h"

namespace marlin {
namespace {

constexpr double kCellWidth = 112;
constexpr double kCellHeight = 20;
constexpr double kCellsLeft = 64;    // layer numbers
constexpr double kCellsTop = 84;     // titles and the units' names
constexpr double kCellsBottom = 56;  // the colours' meaning
constexpr double kCellsGap = 36;     // between panels
constexpr std::size_t kPerLine = 2;
constexpr std::size_t kSwatches = 5;

struct CellPanel {
  std::string title, subtitle;
  std::vector<std::string> names;              // of the columns
  std::vector<const record::PlanUnit*> units;  // in the order of the record
  std::uint64_t layers = 0;
  double low = 0;  // least and largest KL above 0
  double high = 0;
};

struct Color {
  int red = 0, green = 0, blue = 0;
  std::string hex() const { return fmt::format("#{:02x}{:02x}{:02x}", red, green, blue); }
  bool dark() const { return 0.299 * red + 0.587 * green + 0.114 * blue < 120; }
};

// 0 = light, 1 = dark: one hue, so that it reads without colours as well.
Color ColorAt(double share) {
  constexpr Color kLight = {239, 243, 255};
  constexpr Color kDark = {8, 48, 107};
  const double t = std::clamp(share, 0.0, 1.0);
  const auto mix = [t](int a, int b) { return static_cast<int>(std::lround(a + t * (b - a))); };
  return {mix(kLight.red, kDark.red), mix(kLight.green, kDark.green), mix(kLight.blue, kDark.blue)};
}

// Logarithmic between the panel's extremes.
double ShareOf(const CellPanel& panel, double kl) {
  if (kl <= 0 || panel.high <= panel.low) return kl > 0 ? 0.5 : 0;
  return std::log(kl / panel.low) / std::log(panel.high / panel.low);
}

std::vector<CellPanel> CollectCellPanels(const Analysis& analysis) {
  std::vector<CellPanel> panels;
  for (const ModelResults& model : analysis.models) {
    for (const ResultGroup& group : model.groups) {
      for (const ResultRow* row : DistinctPlans(group)) {
        const record::Plan& plan = *row->record().plan;
        CellPanel panel;
        panel.title = model.name + ", " + ConfigName(row->record());
        panel.subtitle =
            fmt::format("KL, nats: this unit alone in {} by {}, on {}", plan.probe, plan.method, plan.text.name);
        for (const record::PlanUnit& unit : plan.units) {
          if (!unit.probe_kl) continue;
          panel.units.push_back(&unit);
          panel.layers = std::max(panel.layers, unit.layer + 1);
          if (std::find(panel.names.begin(), panel.names.end(), unit.name) == panel.names.end()) {
            panel.names.push_back(unit.name);
          }
          if (*unit.probe_kl <= 0) continue;
          panel.low = panel.low == 0 ? *unit.probe_kl : std::min(panel.low, *unit.probe_kl);
          panel.high = std::max(panel.high, *unit.probe_kl);
        }
        if (!panel.units.empty()) panels.push_back(std::move(panel));
      }
    }
  }
  return panels;
}

std::string CellAt(const Figure& figure, const Box& box, const Color& color) {
  return fmt::format(
      "set object rectangle from screen {:.5f},{:.5f} to screen {:.5f},{:.5f} back fillcolor rgb '{}' fillstyle solid "
      "1 "
      "border linecolor rgb '#ffffff'\n",
      box.left / figure.width_px, box.bottom / figure.height_px, box.right / figure.width_px,
      box.top / figure.height_px, color.hex());
}

// Never narrower than its texts and the meaning of the colours.
double PanelWidth(const CellPanel& panel) {
  return kCellsLeft + kCellWidth * static_cast<double>(std::max<std::size_t>(4, panel.names.size()));
}
double PanelHeight(const CellPanel& panel) {
  return kCellsTop + kCellsBottom + kCellHeight * static_cast<double>(panel.layers);
}

// (x, top): the panel's upper left corner.
void DrawPanel(const CellPanel& panel, double x, double top, Figure& figure) {
  std::string& script = figure.script;
  const double width = PanelWidth(panel);
  script += TextAt(figure, x + kCellsLeft, top - 18, ClipText(OneLine(panel.title), width - kCellsLeft, kFontPx),
                   {.bold = true});
  script += TextAt(figure, x + kCellsLeft, top - 36, ClipText(OneLine(panel.subtitle), width - kCellsLeft, kFontPx),
                   {.color = "#555555"});
  for (std::size_t i = 0; i < panel.names.size(); ++i) {
    script += TextAt(figure, x + kCellsLeft + (static_cast<double>(i) + 0.5) * kCellWidth, top - kCellsTop + 12,
                     ClipText(OneLine(panel.names[i]), kCellWidth, kFontPx), {.align = "center"});
  }
  for (std::uint64_t layer = 0; layer < panel.layers; ++layer) {
    const double middle = top - kCellsTop - (static_cast<double>(layer) + 0.5) * kCellHeight;
    script += TextAt(figure, x + kCellsLeft - 8, middle, fmt::format("{}{}", layer == 0 ? "layer " : "", layer),
                     {.align = "right"});
  }
  for (const record::PlanUnit* unit : panel.units) {
    const auto column = std::find(panel.names.begin(), panel.names.end(), unit->name) - panel.names.begin();
    const double left = x + kCellsLeft + static_cast<double>(column) * kCellWidth;
    const double upper = top - kCellsTop - static_cast<double>(unit->layer) * kCellHeight;
    const Color color = ColorAt(ShareOf(panel, *unit->probe_kl));
    script += CellAt(figure, {left, upper - kCellHeight, left + kCellWidth, upper}, color);
    script += TextAt(figure, left + kCellWidth / 2, upper - kCellHeight / 2,
                     ClipText(OneLine(unit->format), kCellWidth - 8, kFontPx),
                     {.align = "center", .color = color.dark() ? "#ffffff" : "#111111"});
  }
  const double legend = top - PanelHeight(panel) + kCellsBottom - 16;
  for (std::size_t i = 0; i < kSwatches && panel.high > 0; ++i) {
    const double share = static_cast<double>(i) / (kSwatches - 1);
    const double left = x + kCellsLeft + static_cast<double>(i) * 88;
    const double kl = panel.low * std::pow(panel.high / panel.low, share);
    script += CellAt(figure, {left, legend - 7, left + 18, legend + 7}, ColorAt(ShareOf(panel, kl)));
    script += TextAt(figure, left + 23, legend, fmt::format("{:.1e}", kl), {.color = "#555555"});
  }
}

}  // namespace

std::optional<Figure> SensitivityFigure(const Analysis& analysis) {
  const std::vector<CellPanel> panels = CollectCellPanels(analysis);
  if (panels.empty()) return std::nullopt;
  double width = 0;
  double height = 0;
  std::vector<double> line_heights;
  for (std::size_t first = 0; first < panels.size(); first += kPerLine) {
    double line_width = 0;
    double line_height = 0;
    for (std::size_t i = first; i < std::min(first + kPerLine, panels.size()); ++i) {
      line_width += PanelWidth(panels[i]) + kCellsGap;
      line_height = std::max(line_height, PanelHeight(panels[i]));
    }
    width = std::max(width, line_width);
    height += line_height;
    line_heights.push_back(line_height);
  }
  Figure figure;
  figure.width_px = static_cast<int>(width);
  figure.height_px = static_cast<int>(height);
  double top = height;
  for (std::size_t line = 0; line < line_heights.size(); ++line) {
    double x = 0;
    for (std::size_t i = line * kPerLine; i < std::min((line + 1) * kPerLine, panels.size()); ++i) {
      DrawPanel(panels[i], x, top, figure);
      x += PanelWidth(panels[i]) + kCellsGap;
    }
    top -= line_heights[line];
  }
  // Rectangles and texts are drawn with a plot; this one shows nothing itself.
  figure.script += "unset border\nunset tics\nunset key\nset xrange [0:1]\nset yrange [0:1]\nplot -1 notitle\n";
  return figure;
}

}  // namespace marlin
