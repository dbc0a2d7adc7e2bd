#include "cli/unknown_verb.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

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

// What ends the sentence: "; did you mean bench?", or "." when more than half of the letters are others.
std::string Guess(const std::string& word, const std::vector<std::string>& verbs) {
  const auto distance = [&](const std::string& verb) { return EditDistance(word, verb); };
  const auto closest = std::ranges::min_element(verbs, {}, distance);
  if (closest == verbs.end() || 2 * distance(*closest) > std::max(word.size(), closest->size())) return ".";
  return fmt::format("; did you mean {}?", *closest);
}

}  // namespace

Status CheckVerbs(const CLI::App& app, std::span<const std::string> words) {
  const CLI::App* parent = &app;
  for (const std::string& word : words) {
    if (word.starts_with('-')) return {};
    std::vector<std::string> verbs;
    const CLI::App* found = nullptr;
    for (const CLI::App* verb : parent->get_subcommands([](const CLI::App*) { return true; })) {
      verbs.push_back(verb->get_name());
      if (verb->get_name() == word) found = verb;
    }
    if (verbs.empty()) return {};
    if (found == nullptr) {
      return Error{ErrorCode::kUsage, fmt::format("{} no verb \"{}\"{} There are: {}",
                                                  parent == &app ? "there is" : parent->get_name() + " has", word,
                                                  Guess(word, verbs), fmt::join(verbs, ", "))};
    }
    parent = found;
  }
  return {};
}

}  // namespace marlin
