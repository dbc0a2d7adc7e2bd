// Divides text into words before byte-pair merging: the steps of tokenizer.json's "pre_tokenizer", in order.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"
#include "text/regex.h"

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
using PreTokenizerStep = std::variant<SplitStep, DigitsStep, ByteLevelStep>;

// The words of GPT-2, which ByteLevel with use_regex cuts.
inline constexpr std::string_view kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class PreTokenizer {
 public:
  // Errors: those of Regex::Compile; kUnsupported unless exactly the last step is ByteLevel.
  static Result<PreTokenizer> Create(const std::vector<PreTokenizerStep>& steps);

  // Replaces `words` by the words of `text` (well-formed UTF-8), none of them empty. They point into `text` or into
  // `storage`, which a prefix space needs. Errors: those of Regex::FindAll.
  Status Split(std::string_view text, Regex::Workspace& workspace, std::string& storage,
               std::vector<std::string_view>& words) const;

 private:
  struct Cut {
    Regex regex;
    SplitBehavior behavior;
    bool invert;
  };
  struct PrefixSpace {};
  using Operation = std::variant<Cut, PrefixSpace>;

  Status AddCut(std::string_view pattern, SplitBehavior behavior, bool invert);

  std::vector<Operation> operations_;
};

}  // namespace marlin
