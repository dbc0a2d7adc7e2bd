// What happens to a text before it is divided into words: the steps of tokenizer.json's "normalizer", in order.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "text/precompiled_charsmap.h"
#include "text/regex.h"
#include "text/tokenizer_hasher.h"
#include "text/unicode.h"

namespace marlin {

struct UnicodeFormStep {
  UnicodeForm form = UnicodeForm::kNfc;
};
struct PrependStep {
  std::string text;
};
struct ReplaceStep {
  std::string pattern;  // a literal, or a regular expression in Oniguruma's syntax
  bool is_regex = false;
  std::string content;
};
struct StripStep {  // white space
  bool left = true;
  bool right = true;
};
struct LowercaseStep {};
struct PrecompiledStep {
  std::string charsmap;  // bytes of SentencePiece's precompiled_charsmap
};
using NormalizerStep =
    std::variant<UnicodeFormStep, PrependStep, ReplaceStep, StripStep, LowercaseStep, PrecompiledStep>;

void HashStep(const NormalizerStep& step, TokenizerHasher& hasher);

class Normalizer {
 public:
  // Errors: those of Regex::Compile and PrecompiledCharsmap::Read.
  static Result<Normalizer> Create(const std::vector<NormalizerStep>& steps);

  // The text after all steps; nothing where there is no step. `text` is well-formed UTF-8. Errors: those of
  // Regex::FindAll.
  Result<std::optional<std::string>> Apply(std::string_view text, Regex::Workspace& workspace) const;

 private:
  struct RegexReplacement {
    Regex regex;
    std::string content;
  };
  using Operation = std::variant<UnicodeFormStep, PrependStep, ReplaceStep, StripStep, LowercaseStep, RegexReplacement,
                                 PrecompiledCharsmap>;
  static Status Run(const Operation& operation, Regex::Workspace& workspace, std::string& text);

  std::vector<Operation> operations_;
};

}  // namespace marlin
