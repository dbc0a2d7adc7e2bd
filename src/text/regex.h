// Regular expressions of tokenizer.json, matched by PCRE2 with the results of Hugging Face's engine (Oniguruma).
// Expressions whose meaning differs between the two are refused, not approximated.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace marlin {

struct TextRange {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool operator==(const TextRange&) const = default;
};

// The PCRE2 spelling of an Oniguruma (Ruby syntax) expression. Errors: kUnsupported, naming the construct.
Result<std::string> TranslateRegex(std::string_view oniguruma);

// A string as an expression that matches just it.
std::string EscapeRegex(std::string_view literal);

// Compiled once, shared by any number of threads.
class Regex {
 public:
  // Errors: kUnsupported (a construct this program does not take over), kInput (not an expression at all).
  static Result<Regex> Compile(std::string_view oniguruma);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // What a match needs beside the expression; one per thread, for any number of expressions.
  class Workspace {
   public:
    Workspace();
    Workspace(Workspace&&) noexcept;
    Workspace& operator=(Workspace&&) noexcept;
    ~Workspace();

   private:
    friend class Regex;
    struct State;
    std::unique_ptr<State> state_;
  };

  // Appends all matches, left to right, not overlapping; an empty match right after a match is not counted. `text` is
  // well-formed UTF-8. Errors: kUnsupported when the search needs more steps or memory than a sane expression does.
  Status FindAll(std::string_view text, Workspace& workspace, std::vector<TextRange>& matches) const;

 private:
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);
  std::unique_ptr<Code> code_;
};

}  // namespace marlin
