#include "report/labels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>

namespace marlin {
namespace {

constexpr double kLabelGap = 8;     // from a point to the nearest edge of its label
constexpr double kLeaderFrom = 14;  // longer gaps get a line
constexpr double kPadding = 1.5;    // kept free around a box
constexpr int kPasses = 12;         // each label is placed again this often, given all others

// A cost is in pixels of distance; the weights say how far a label would go to avoid a square pixel of overlap.
constexpr double kLabelWeight = 1000;
constexpr double kMarkWeight = 2;
constexpr double kLeaderWeight = 40;  // for every label or mark that a leader line runs through

Box Grown(const Box& box, double by) { return {box.left - by, box.bottom - by, box.right + by, box.top + by}; }

// The point of the box nearest to (x, y).
struct Spot {
  double x;
  double y;
};
Spot Nearest(const Box& box, double x, double y) {
  return {std::clamp(x, box.left, box.right), std::clamp(y, box.bottom, box.top)};
}

double Distance(const Box& box, double x, double y) {
  const Spot p = Nearest(box, x, y);
  return std::hypot(p.x - x, p.y - y);
}

// Whether the segment runs through the box: sampled, since boxes are many pixels wide.
bool Crosses(Spot from, Spot to, const Box& box) {
  constexpr int kSamples = 24;
  if (std::max(from.x, to.x) <= box.left || std::min(from.x, to.x) >= box.right ||
      std::max(from.y, to.y) <= box.bottom || std::min(from.y, to.y) >= box.top) {
    return false;
  }
  for (int i = 1; i < kSamples; ++i) {
    const double t = static_cast<double>(i) / kSamples;
    const double x = from.x + t * (to.x - from.x);
    const double y = from.y + t * (to.y - from.y);
    if (x > box.left && x < box.right && y > box.bottom && y < box.top) return true;
  }
  return false;
}

Box MoveInside(Box box, const Box& area) {
  const double dx = std::max(0.0, area.left - box.left) - std::max(0.0, box.right - area.right);
  const double dy = std::max(0.0, area.bottom - box.bottom) - std::max(0.0, box.top - area.top);
  return {box.left + dx, box.bottom + dy, box.right + dx, box.top + dy};
}

// Boxes around the point at growing distances: right, left, above, below and between.
std::vector<Box> Candidates(const LabelRequest& request, const Box& area) {
  std::vector<Box> boxes;
  for (double gap = kLabelGap; gap < 260; gap = gap < 30 ? gap + 6 : gap * 1.25) {
    const int angles = gap < 12 ? 8 : 24;
    for (int i = 0; i < angles; ++i) {
      const double angle = 2 * std::numbers::pi * i / angles;
      // The edge of the box, not its centre, lies `gap` away.
      const double x = request.x + std::cos(angle) * (gap + request.width / 2);
      const double y = request.y + std::sin(angle) * (gap + request.height / 2);
      const Box box = {x - request.width / 2, y - request.height / 2, x + request.width / 2, y + request.height / 2};
      boxes.push_back(MoveInside(box, area));
    }
  }
  return boxes;
}

double Cost(const Box& box, std::size_t own, std::span<const LabelRequest> requests,
            std::span<const PlacedLabel> placed, std::span<const Box> marks) {
  const LabelRequest& request = requests[own];
  const double distance = Distance(box, request.x, request.y);
  const Spot end = Nearest(box, request.x, request.y);
  const bool leader = distance > kLeaderFrom;
  double cost = distance + (leader ? 6 : 0);
  const Box grown = Grown(box, kPadding);
  for (const Box& mark : marks) {
    cost += kMarkWeight * OverlapArea(grown, mark);
    const bool own_mark = Distance(mark, request.x, request.y) == 0;
    if (leader && !own_mark && Crosses({request.x, request.y}, end, mark)) cost += kLeaderWeight;
  }
  for (std::size_t i = 0; i < placed.size(); ++i) {
    if (i == own) continue;
    cost += kLabelWeight * OverlapArea(grown, placed[i].box);
    if (leader && Crosses({request.x, request.y}, end, placed[i].box)) cost += kLeaderWeight;
    const Spot other_end = Nearest(placed[i].box, requests[i].x, requests[i].y);
    if (placed[i].leader && Crosses({requests[i].x, requests[i].y}, other_end, grown)) cost += kLeaderWeight;
  }
  return cost;
}

}  // namespace

double OverlapArea(const Box& a, const Box& b) {
  const double width = std::min(a.right, b.right) - std::max(a.left, b.left);
  const double height = std::min(a.top, b.top) - std::max(a.bottom, b.bottom);
  return width > 0 && height > 0 ? width * height : 0;
}

std::vector<PlacedLabel> PlaceLabels(std::span<const LabelRequest> requests, const Box& area,
                                     std::span<const Box> marks) {
  // Labels that are not placed yet are out of the way of all others.
  constexpr double kAway = -1e6;
  std::vector<PlacedLabel> placed(requests.size(), {Box{kAway, kAway, kAway, kAway}, false});
  std::vector<std::vector<Box>> candidates;
  for (const LabelRequest& request : requests) candidates.push_back(Candidates(request, area));
  for (int pass = 0; pass < kPasses; ++pass) {
    bool changed = false;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      double least =
          pass == 0 ? std::numeric_limits<double>::infinity() : Cost(placed[i].box, i, requests, placed, marks) - 1e-9;
      for (const Box& box : candidates[i]) {
        const double cost = Cost(box, i, requests, placed, marks);
        if (cost >= least) continue;
        least = cost;
        placed[i] = {box, Distance(box, requests[i].x, requests[i].y) > kLeaderFrom};
        changed = true;
      }
    }
    if (!changed) break;
  }
  return placed;
}

double TextWidth(std::string_view text, double font_px) {
  double width = 0;  // in em
  for (const char c : text) {
    if ((c & 0xc0) == 0x80) continue;  // the rest of a UTF-8 sequence
    if (std::string_view(" .,:;|!'`ijlI/\\()[]").find(c) != std::string_view::npos) {
      width += 0.39;
    } else if (std::string_view("mwMW@%").find(c) != std::string_view::npos) {
      width += 1.02;
    } else if (c >= 'A' && c <= 'Z') {
      width += 0.76;
    } else {
      width += static_cast<unsigned char>(c) < 0x80 ? 0.64 : 1.0;
    }
  }
  return width * font_px;
}

std::string ClipText(std::string_view text, double width, double font_px) {
  if (TextWidth(text, font_px) <= width) return std::string(text);
  constexpr std::string_view kEllipsis = "...";
  const auto continues = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; };  // UTF-8
  while (!text.empty() && TextWidth(text, font_px) + TextWidth(kEllipsis, font_px) > width) {
    while (text.size() > 1 && continues(text.back())) text.remove_suffix(1);
    text.remove_suffix(1);
  }
  return std::string(text) + std::string(kEllipsis);
}

}  // namespace marlin
