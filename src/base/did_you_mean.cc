#include "base/did_you_mean.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

namespace marlin {
namespace {

// Letters to insert, delete, replace or swap with their neighbour until a is b (optimal string alignment).
std::size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::vector<std::size_t> line(b.size() + 1, i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      line[j] = std::min({replaced, last[j] + 1, line[j - 1] + 1});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) line[j] = std::min(line[j], before[j - 2] + 1);
    }
    before = std::move(last);
    last = std::move(line);
  }
  return last.back();
}

}  // namespace

std::string DidYouMean(const std::string& word, std::span<const std::string> known) {
  const auto distance = [&](const std::string& other) { return EditDistance(word, other); };
  const auto closest = std::ranges::min_element(known, {}, distance);
  if (closest == known.end() || 2 * distance(*closest) > std::max(word.size(), closest->size())) return ".";
  return fmt::format("; did you mean {}?", *closest);
}

}  // namespace marlin
