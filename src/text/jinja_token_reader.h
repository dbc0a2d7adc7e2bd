// The tokens of a template while it is parsed: the current one, what is expected of it, and the first error. After an
// error nothing is skipped any more, so that the parsers end soon.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "text/jinja_lexer.h"
#include "text/jinja_run.h"
#include "text/jinja_text.h"

namespace marlin::jinja {

class TokenReader {
 public:
  // deepest: limit of constructs in each other.
  TokenReader(std::vector<Token> tokens, std::string_view source, std::string_view where, int deepest)
      : tokens_(std::move(tokens)), source_(source), where_(where), deepest_(deepest) {}

  int deepest() const { return deepest_; }
  bool failed() const { return error_.has_value(); }
  const Error& error() const { return *error_; }

  const Token& Now() const { return tokens_[at_]; }
  const Token& After() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  void Advance() { at_ = std::min(at_ + 1, tokens_.size() - 1); }
  static bool Is(const Token& token, TokenKind kind, std::string_view text) {
    return token.kind == kind && token.text == text;
  }
  bool IsOperator(std::string_view text) const { return Is(Now(), TokenKind::kOperator, text); }
  bool IsWord(std::string_view text) const { return Is(Now(), TokenKind::kName, text); }
  bool SkipOperator(std::string_view text) {
    if (error_ || !IsOperator(text)) return false;
    Advance();
    return true;
  }
  bool SkipWord(std::string_view text) {
    if (error_ || !IsWord(text)) return false;
    Advance();
    return true;
  }
  void Expect(std::string_view text) {
    if (!error_ && !SkipOperator(text) && !SkipWord(text)) Fail(fmt::format("want {}, got {}", text, Describe(Now())));
  }
  std::string ExpectName() {
    if (error_) return {};
    if (Now().kind != TokenKind::kName) {
      Fail(fmt::format("want a name, got {}", Describe(Now())));
      return {};
    }
    std::string name = Now().text;
    Advance();
    return name;
  }
  void ExpectTagEnd() {
    if (error_) return;
    if (Now().kind != TokenKind::kTagEnd) return Fail(fmt::format("want the end of the tag, got {}", Describe(Now())));
    Advance();
  }

  static std::string Describe(const Token& token) {
    switch (token.kind) {
      case TokenKind::kEnd:
        return "the end of the template";
      case TokenKind::kTagEnd:
      case TokenKind::kPrintEnd:
        return "the end of the tag";
      case TokenKind::kInteger:
      case TokenKind::kFloat:
        return "a number";
      case TokenKind::kString:
        return "the text " + QuoteAsPython(token.text);
      default:
        return QuoteAsPython(token.text);
    }
  }

  void Fail(std::string_view message, ErrorCode code = ErrorCode::kInput) {
    if (!error_) error_ = Error{code, fmt::format("{}: {}: {}", where_, PlaceIn(source_, Now().offset), message)};
  }
  void Unexpected() { Fail(fmt::format("unexpected {}", Describe(Now()))); }

  // Counts nested constructs while one is parsed.
  class Level {
   public:
    explicit Level(TokenReader& reader) : reader_(reader) {
      if (++reader_.level_ > reader_.deepest_) {
        reader_.Fail(fmt::format("more than {} constructs in each other, this program's limit", reader_.deepest_),
                     ErrorCode::kUnsupported);
      }
    }
    ~Level() { --reader_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    TokenReader& reader_;
  };

 private:
  std::vector<Token> tokens_;
  std::string_view source_, where_;
  int deepest_;
  std::size_t at_ = 0;
  int level_ = 0;
  std::optional<Error> error_;
};

}  // namespace marlin::jinja
