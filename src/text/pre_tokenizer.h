// Divides text into words before the model of the tokenizer sees them: the steps of tokenizer.json's "pre_tokenizer",
// in order.
#pragma once

#include <array>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"
#include "text/regex.h"
#include "text/tokenizer_hasher.h"

namespace marlin {

// What happens to the matches of an expression.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// As tokenizer.json spells them.
inline constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kSplitBehaviorNames = {{
    {"Removed", SplitBehavior::kRemoved},
    {"Isolated", SplitBehavior::kIsolated},
    {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
    {"MergedWithNext", SplitBehavior::kMergedWithNext},
    {"Contiguous", SplitBehavior::kContiguous},
}};

// Where Metaspace puts its character in front.
enum class PrependScheme { kAlways, kFirst, kNever };

inline constexpr std::array<std::pair<std::string_view, PrependScheme>, 3> kPrependSchemeNames = {{
    {"always", PrependScheme::kAlways},
    {"first", PrependScheme::kFirst},
    {"never", PrependScheme::kNever},
}};

struct SplitStep {
  std::string pattern;  // regular expression in Oniguruma's syntax
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // the gaps are the matches
};
struct DigitsStep {
  bool individual = false;
};
struct ByteLevelStep {
  bool add_prefix_space = false;
  bool use_regex = true;  // split as GPT-2 does
};
struct MetaspaceStep {
  std::string replacement = "\u2581";  // one character
  PrependScheme prepend = PrependScheme::kAlways;
  bool split = true;
};
struct PunctuationStep {
  SplitBehavior behavior = SplitBehavior::kIsolated;
};
struct WhitespaceStep {};       // runs of word characters, and runs of others
struct WhitespaceSplitStep {};  // what white space separates
using PreTokenizerStep = std::variant<SplitStep, DigitsStep, ByteLevelStep, MetaspaceStep, PunctuationStep,
                                      WhitespaceStep, WhitespaceSplitStep>;

void HashStep(const PreTokenizerStep& step, TokenizerHasher& hasher);

// The words of GPT-2, which ByteLevel with use_regex cuts.
inline constexpr std::string_view kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class PreTokenizer {
 public:
  // What ByteLevel makes of a word: its bytes spelled in the byte alphabet, or its bytes as they are, for a model that
  // takes bytes. The latter wants ByteLevel as the last step.
  enum class Bytes { kSpelled, kRaw };

  // Errors: those of Regex::Compile; kUnsupported (kRaw unless exactly the last step is ByteLevel).
  static Result<PreTokenizer> Create(const std::vector<PreTokenizerStep>& steps, Bytes bytes);

  // Replaces `words` by the words of `text` (well-formed UTF-8), none of them empty. They point into `text` or into
  // strings that are added to `kept`. `at_start`: nothing stands before the text. Errors: those of Regex::FindAll.
  Status Split(std::string_view text, bool at_start, Regex::Workspace& workspace, std::deque<std::string>& kept,
               std::vector<std::string_view>& words) const;

 private:
  struct Cut {
    Regex regex;
    SplitBehavior behavior;
    bool invert;
  };
  struct ClassCut {
    bool (*holds)(char32_t);
    SplitBehavior behavior;
  };
  struct CharacterCut {
    std::string character;  // each joins what follows
  };
  struct WordRuns {};
  struct PrefixSpace {};
  struct Spelling {};
  struct Metaspace {
    std::string replacement;
    PrependScheme prepend;
  };
  using Operation = std::variant<Cut, ClassCut, CharacterCut, WordRuns, PrefixSpace, Spelling, Metaspace>;
  struct Matcher;

  Status Add(const PreTokenizerStep& step, Bytes bytes);
  Status AddCut(std::string_view pattern, SplitBehavior behavior, bool invert);

  std::vector<Operation> operations_;
};

}  // namespace marlin
