#include "text/vocabulary.h"

#include <fmt/format.h>

namespace marlin {
namespace {

constexpr std::size_t kMostIds = std::size_t{1} << 24;

}  // namespace

Error BrokenTokenizer(std::string_view where, std::string_view what) {
  return {ErrorCode::kInput, fmt::format("{}: {}", where, what)};
}

Result<VocabularyIndex> IndexVocabulary(const std::vector<std::string>& vocabulary, std::string_view where) {
  if (vocabulary.size() > kMostIds) {
    return BrokenTokenizer(
        where, fmt::format("the vocabulary has {} tokens; no model has more than {}", vocabulary.size(), kMostIds));
  }
  VocabularyIndex index;
  index.reserve(vocabulary.size());
  for (std::size_t id = 0; id < vocabulary.size(); ++id) {
    const auto [other, is_new] = index.emplace(vocabulary[id], static_cast<std::int32_t>(id));
    if (!is_new) {
      return BrokenTokenizer(where, fmt::format("ids {} and {} are both \"{}\"", other->second, id, vocabulary[id]));
    }
  }
  return index;
}

std::optional<std::pair<std::string_view, std::string_view>> HalvesOfMerge(std::string_view merge) {
  const std::size_t space = merge.find(' ');
  if (space == std::string_view::npos || space == 0 || space + 1 == merge.size()) return std::nullopt;
  if (merge.find(' ', space + 1) != std::string_view::npos) return std::nullopt;
  return std::pair(merge.substr(0, space), merge.substr(space + 1));
}

Result<BpeMerge> ResolveMerge(const VocabularyIndex& index, std::string_view left, std::string_view right,
                              std::size_t rank, std::string_view where) {
  const std::string both = std::string(left) + std::string(right);
  BpeMerge merge;
  for (const auto& [text, id] : {std::pair(left, &merge.left), std::pair(right, &merge.right),
                                 std::pair(std::string_view(both), &merge.result)}) {
    const auto found = index.find(text);
    if (found == index.end()) {
      return BrokenTokenizer(
          where, fmt::format("merge {} (\"{}\" + \"{}\") needs the token \"{}\", which the vocabulary lacks", rank,
                             left, right, text));
    }
    *id = found->second;
  }
  return merge;
}

}  // namespace marlin
