#include "text/pre_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "text/byte_alphabet.h"
#include "text/unicode.h"
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

// Replaces every piece by what `change` makes of it, kept in one string.
template <class Change>
void Rewrite(std::deque<std::string>& kept, std::vector<std::string_view>& pieces, const Change& change) {
  std::string& storage = kept.emplace_back();
  std::vector<std::size_t> ends;
  ends.reserve(pieces.size());
  for (const std::string_view piece : pieces) {
    change(piece, storage);
    ends.push_back(storage.size());
  }
  std::size_t begin = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    pieces[i] = std::string_view(storage).substr(begin, ends[i] - begin);
    begin = ends[i];
  }
}

void PrependSpace(std::string_view piece, std::string& out) {
  if (!piece.starts_with(' ')) out.push_back(' ');
  out += piece;
}

bool IsNeverTrue(char32_t) { return false; }

// Runs of word characters and runs of others; white space separates both.
void AppendWordRuns(std::string_view text, std::vector<std::string_view>& pieces) {
  enum class Kind { kSpace, kWord, kOther };
  Kind last = Kind::kSpace;
  std::size_t begin = 0;
  const auto flush = [&](std::size_t end) {
    if (last != Kind::kSpace) pieces.push_back(text.substr(begin, end - begin));
  };
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint next = CodePointAt(text, i);
    const Kind kind = IsWordCharacter(next.value) ? Kind::kWord
                      : IsWhiteSpace(next.value)  ? Kind::kSpace
                                                  : Kind::kOther;
    if (kind != last) {
      flush(i);
      begin = i;
      last = kind;
    }
    i += next.bytes;
  }
  flush(text.size());
}

struct PreTokenizerStepHasher {
  TokenizerHasher& hasher;

  void operator()(const SplitStep& step) const {
    hasher.Text("split");
    hasher.Text(step.pattern);
    hasher.Number(static_cast<int>(step.behavior));
    hasher.Number(step.invert);
  }
  void operator()(const DigitsStep& step) const {
    hasher.Text("digits");
    hasher.Number(step.individual);
  }
  void operator()(const ByteLevelStep& step) const {
    hasher.Text("bytes");
    hasher.Number(step.add_prefix_space);
    hasher.Number(step.use_regex);
  }
  void operator()(const MetaspaceStep& step) const {
    hasher.Text("metaspace");
    hasher.Text(step.replacement);
    hasher.Number(static_cast<int>(step.prepend));
    hasher.Number(step.split);
  }
  void operator()(const PunctuationStep& step) const {
    hasher.Text("punctuation");
    hasher.Number(static_cast<int>(step.behavior));
  }
  void operator()(const WhitespaceStep&) const { hasher.Text("whitespace"); }
  void operator()(const WhitespaceSplitStep&) const { hasher.Text("whitespace split"); }
};

}  // namespace

void HashStep(const PreTokenizerStep& step, TokenizerHasher& hasher) {
  std::visit(PreTokenizerStepHasher{hasher}, step);
}

Status PreTokenizer::AddCut(std::string_view pattern, SplitBehavior behavior, bool invert) {
  auto regex = Regex::Compile(pattern);
  if (!regex) return regex.error();
  operations_.emplace_back(Cut{std::move(*regex), behavior, invert});
  return {};
}

Status PreTokenizer::Add(const PreTokenizerStep& step, Bytes bytes) {
  if (const auto* split = std::get_if<SplitStep>(&step)) {
    if (split->pattern.empty()) {  // matches nothing in Hugging Face tokenizers
      operations_.emplace_back(ClassCut{IsNeverTrue, split->behavior});
      return {};
    }
    return AddCut(split->pattern, split->behavior, split->invert);
  }
  if (const auto* digits = std::get_if<DigitsStep>(&step)) {
    return AddCut(DigitExpression(), digits->individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous, false);
  }
  if (const auto* byte_level = std::get_if<ByteLevelStep>(&step)) {
    if (byte_level->add_prefix_space) operations_.emplace_back(PrefixSpace{});
    if (byte_level->use_regex) {
      if (auto status = AddCut(kGpt2Words, SplitBehavior::kIsolated, false); !status) return status;
    }
    if (bytes == Bytes::kSpelled) operations_.emplace_back(Spelling{});
    return {};
  }
  if (const auto* metaspace = std::get_if<MetaspaceStep>(&step)) {
    operations_.emplace_back(Metaspace{metaspace->replacement, metaspace->prepend});
    if (metaspace->split) operations_.emplace_back(CharacterCut{metaspace->replacement});
    return {};
  }
  if (const auto* punctuation = std::get_if<PunctuationStep>(&step)) {
    operations_.emplace_back(ClassCut{IsPunctuation, punctuation->behavior});
  } else if (std::holds_alternative<WhitespaceStep>(step)) {
    operations_.emplace_back(WordRuns{});
  } else {
    operations_.emplace_back(ClassCut{IsWhiteSpace, SplitBehavior::kRemoved});
  }
  return {};
}

Result<PreTokenizer> PreTokenizer::Create(const std::vector<PreTokenizerStep>& steps, Bytes bytes) {
  const auto byte_levels = std::count_if(steps.begin(), steps.end(), [](const PreTokenizerStep& step) {
    return std::holds_alternative<ByteLevelStep>(step);
  });
  if (bytes == Bytes::kRaw && (byte_levels != 1 || !std::holds_alternative<ByteLevelStep>(steps.back()))) {
    return Error{
        ErrorCode::kUnsupported,
        fmt::format("the pre-tokenizer has {} ByteLevel steps; byte-level BPE wants one, the last", byte_levels)};
  }
  PreTokenizer result;
  for (const PreTokenizerStep& step : steps) {
    if (auto status = result.Add(step, bytes); !status) return status.error();
  }
  return result;
}

// Finds what an operation cuts at.
struct PreTokenizer::Matcher {
  Regex::Workspace& workspace;
  std::vector<TextRange> matches;
  std::vector<Section> sections;

  Status Append(const Cut& cut, std::string_view piece, std::vector<std::string_view>& pieces) {
    matches.clear();
    if (auto status = cut.regex.FindAll(piece, workspace, matches); !status) return status;
    if (cut.behavior == SplitBehavior::kIsolated) {  // most tokenizers
      std::size_t end = 0;
      const auto add = [&](std::size_t from, std::size_t to) {
        if (from != to) pieces.push_back(piece.substr(from, to - from));
      };
      for (const TextRange& match : matches) {
        add(end, match.begin);
        add(match.begin, match.end);
        end = match.end;
      }
      add(end, piece.size());
      return {};
    }
    Sections(piece.size(), matches, cut.invert, sections);
    AppendPieces(piece, cut.behavior, sections, pieces);
    return {};
  }
  Status Append(const ClassCut& cut, std::string_view piece, std::vector<std::string_view>& pieces) {
    matches.clear();
    for (std::size_t i = 0; i < piece.size();) {
      const CodePoint next = CodePointAt(piece, i);
      if (cut.holds(next.value)) matches.push_back({i, i + next.bytes});
      i += next.bytes;
    }
    Sections(piece.size(), matches, false, sections);
    AppendPieces(piece, cut.behavior, sections, pieces);
    return {};
  }
  static Status Append(const CharacterCut& cut, std::string_view piece, std::vector<std::string_view>& pieces) {
    std::size_t begin = 0;
    while (begin < piece.size()) {
      const std::size_t end = std::min(piece.find(cut.character, begin + 1), piece.size());
      pieces.push_back(piece.substr(begin, end - begin));
      begin = end;
    }
    return {};
  }
  static Status Append(const WordRuns&, std::string_view piece, std::vector<std::string_view>& pieces) {
    AppendWordRuns(piece, pieces);
    return {};
  }
};

Status PreTokenizer::Split(std::string_view text, bool at_start, Regex::Workspace& workspace,
                           std::deque<std::string>& kept, std::vector<std::string_view>& words) const {
  words.clear();
  if (!text.empty()) words.push_back(text);
  std::vector<std::string_view> pieces;
  Matcher matcher{workspace, {}, {}};
  const auto cut_with = [&](const auto& cut) -> Status {
    pieces.clear();
    for (const std::string_view piece : words) {
      if (auto status = matcher.Append(cut, piece, pieces); !status) return status;
    }
    const auto first = [](const auto& list) { return list.empty() ? nullptr : list.front().data(); };
    at_start = at_start && first(pieces) == first(words);
    words.swap(pieces);
    return {};
  };
  for (const Operation& operation : operations_) {
    Status status;
    if (std::holds_alternative<PrefixSpace>(operation)) {
      Rewrite(kept, words, PrependSpace);
    } else if (std::holds_alternative<Spelling>(operation)) {
      Rewrite(kept, words, [](std::string_view piece, std::string& out) { out += ToByteAlphabet(piece); });
    } else if (const auto* metaspace = std::get_if<Metaspace>(&operation)) {
      bool first = at_start;
      Rewrite(kept, words, [&](std::string_view piece, std::string& out) {
        const bool wanted =
            metaspace->prepend == PrependScheme::kAlways || (metaspace->prepend == PrependScheme::kFirst && first);
        first = false;
        if (wanted && !piece.starts_with(' ') && !piece.starts_with(metaspace->replacement))
          out += metaspace->replacement;
        for (const char c : piece) c == ' ' ? out += metaspace->replacement : out += c;
      });
    } else if (const auto* cut = std::get_if<Cut>(&operation)) {
      status = cut_with(*cut);
    } else if (const auto* by_class = std::get_if<ClassCut>(&operation)) {
      status = cut_with(*by_class);
    } else if (const auto* by_character = std::get_if<CharacterCut>(&operation)) {
      status = cut_with(*by_character);
    } else {
      status = cut_with(WordRuns{});
    }
    if (!status) return status;
  }
  return {};
}

}  // namespace marlin
