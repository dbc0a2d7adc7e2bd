#include "text/pre_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "text/unicode_additions.h"

namespace marlin {
namespace {

std::string DigitExpression() {
  std::string expression = "[\\p{N}";
  for (const UnicodeAddition& row : UnicodeAdditions()) {
    if (row.category != "#") continue;
    expression +=
        fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", static_cast<unsigned>(row.first), static_cast<unsigned>(row.last));
  }
  return expression + "]";
}

struct Section {
  TextRange range;
  bool match = false;
};

// Matches and the gaps between them, in order; together they are the whole text.
void Sections(std::size_t size, const std::vector<TextRange>& matches, bool invert, std::vector<Section>& sections) {
  sections.clear();
  std::size_t end = 0;
  for (const TextRange& match : matches) {
    if (end != match.begin) sections.push_back({{end, match.begin}, invert});
    sections.push_back({match, !invert});
    end = match.end;
  }
  if (end != size) sections.push_back({{end, size}, invert});
}

// Merges neighbours in place. A match joins a neighbour that is not a match, a second match in a row stays separate
// (kMergedWith...); or matches join matches and gaps join gaps (kContiguous).
void Merge(SplitBehavior behavior, std::vector<Section>& sections) {
  const bool backwards = behavior == SplitBehavior::kMergedWithNext;
  if (backwards) std::reverse(sections.begin(), sections.end());
  std::vector<Section> merged;
  bool previous_match = false;
  for (const Section& section : sections) {
    const bool join =
        behavior == SplitBehavior::kContiguous ? section.match == previous_match : section.match && !previous_match;
    if (join && !merged.empty()) {
      TextRange& last = merged.back().range;
      last = {std::min(last.begin, section.range.begin), std::max(last.end, section.range.end)};
    } else {
      merged.push_back(section);
    }
    previous_match = section.match;
  }
  if (backwards) std::reverse(merged.begin(), merged.end());
  sections = std::move(merged);
}

void AppendPieces(std::string_view text, SplitBehavior behavior, std::vector<Section>& sections,
                  std::vector<std::string_view>& pieces) {
  if (behavior != SplitBehavior::kIsolated && behavior != SplitBehavior::kRemoved) Merge(behavior, sections);
  for (const Section& section : sections) {
    if (section.match && behavior == SplitBehavior::kRemoved) continue;
    if (section.range.begin == section.range.end) continue;
    pieces.push_back(text.substr(section.range.begin, section.range.end - section.range.begin));
  }
}

// Every piece gets a space in front unless it has one.
void PrependSpaces(std::string& storage, std::vector<std::string_view>& pieces) {
  std::size_t size = pieces.size();
  for (const std::string_view piece : pieces) size += piece.size();
  storage.clear();
  storage.reserve(size);  // no reallocation below: the pieces point into it
  for (std::string_view& piece : pieces) {
    const std::size_t begin = storage.size();
    if (!piece.starts_with(' ')) storage.push_back(' ');
    storage += piece;
    piece = std::string_view(storage).substr(begin);
  }
}

}  // namespace

Status PreTokenizer::AddCut(std::string_view pattern, SplitBehavior behavior, bool invert) {
  auto regex = Regex::Compile(pattern);
  if (!regex) return regex.error();
  operations_.emplace_back(Cut{std::move(*regex), behavior, invert});
  return {};
}

Result<PreTokenizer> PreTokenizer::Create(const std::vector<PreTokenizerStep>& steps) {
  const auto byte_levels = std::count_if(steps.begin(), steps.end(), [](const PreTokenizerStep& step) {
    return std::holds_alternative<ByteLevelStep>(step);
  });
  if (byte_levels != 1 || !std::holds_alternative<ByteLevelStep>(steps.back())) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("the pre-tokenizer has {} ByteLevel steps; only tokenizers whose last step, and no other, "
                             "is ByteLevel are supported",
                             byte_levels)};
  }
  PreTokenizer result;
  for (const PreTokenizerStep& step : steps) {
    Status status;
    if (const auto* split = std::get_if<SplitStep>(&step)) {
      status = result.AddCut(split->pattern, split->behavior, split->invert);
    } else if (const auto* digits = std::get_if<DigitsStep>(&step)) {
      const auto behavior = digits->individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous;
      status = result.AddCut(DigitExpression(), behavior, false);
    } else {
      const auto& byte_level = std::get<ByteLevelStep>(step);
      if (byte_level.add_prefix_space) result.operations_.emplace_back(PrefixSpace{});
      if (byte_level.use_regex) status = result.AddCut(kGpt2Words, SplitBehavior::kIsolated, false);
    }
    if (!status) return status.error();
  }
  return result;
}

Status PreTokenizer::Split(std::string_view text, Regex::Workspace& workspace, std::string& storage,
                           std::vector<std::string_view>& words) const {
  words.clear();
  if (!text.empty()) words.push_back(text);
  std::vector<std::string_view> pieces;
  std::vector<TextRange> matches;
  std::vector<Section> sections;
  for (const Operation& operation : operations_) {
    const Cut* cut = std::get_if<Cut>(&operation);
    if (cut == nullptr) {
      PrependSpaces(storage, words);
      continue;
    }
    pieces.clear();
    for (const std::string_view piece : words) {
      matches.clear();
      if (auto status = cut->regex.FindAll(piece, workspace, matches); !status) return status;
      Sections(piece.size(), matches, cut->invert, sections);
      AppendPieces(piece, cut->behavior, sections, pieces);
    }
    words.swap(pieces);
  }
  return {};
}

}  // namespace marlin
