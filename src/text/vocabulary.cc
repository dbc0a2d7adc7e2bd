#include "text/vocabulary.h"

#include <fmt/format.h>

#include <cctype>

namespace marlin {
namespace {

constexpr std::size_t kMostIds = std::size_t{1} << 24;

}  // namespace

Error BrokenTokenizer(std::string_view where, std::string_view what) {
  return {ErrorCode::kInput, fmt::format("{}: {}", where, what)};
}

Error TooLongWord(std::size_t bytes, std::size_t longest_bytes) {
  return {ErrorCode::kUnsupported,
          fmt::format("a word of {} bytes; the longest supported has {}", bytes, longest_bytes)};
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

std::array<std::int32_t, 256> ByteFallbackIds(const VocabularyIndex& index) {
  std::array<std::int32_t, 256> ids{};
  for (std::size_t byte = 0; byte < ids.size(); ++byte) {
    const auto found = index.find(fmt::format("<0x{:02X}>", byte));
    ids[byte] = found == index.end() ? -1 : found->second;
  }
  return ids;
}

std::optional<char> ByteOfFallback(std::string_view token) {
  constexpr std::size_t kSize = 6;
  if (token.size() != kSize || !token.starts_with("<0x") || !token.ends_with('>')) return std::nullopt;
  unsigned value = 0;
  for (const char c : token.substr(3, 2)) {
    if (std::isxdigit(static_cast<unsigned char>(c)) == 0) return std::nullopt;
    value = value * 16 + static_cast<unsigned>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  return static_cast<char>(value);
}

}  // namespace marlin
