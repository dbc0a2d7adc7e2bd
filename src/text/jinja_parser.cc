#include "text/jinja_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>

#include "text/jinja_expressions.h"
#include "text/jinja_token_reader.h"

namespace marlin::jinja {
namespace {

// Tags of Jinja and of its extensions that this program does not know.
constexpr std::array<std::string_view, 13> kOtherTags = {"call",  "include",   "import",     "from", "extends",
                                                         "block", "with",      "autoescape", "do",   "trans",
                                                         "debug", "pluralize", "print"};

class Parser {
 public:
  explicit Parser(TokenReader& in) : in_(in) {}

  Statements Parse() {
    Statements body = Body({});
    if (!in_.failed() && in_.Now().kind != TokenKind::kEnd) in_.Unexpected();
    return body;
  }

 private:
  // Up to a tag that begins with one of these words, which becomes the current token; or to the end of the template.
  Statements Body(std::initializer_list<std::string_view> ends) {
    const TokenReader::Level level(in_);
    Statements body;
    while (!in_.failed() && in_.Now().kind != TokenKind::kEnd) {
      const Token& token = in_.Now();
      if (token.kind == TokenKind::kText) {
        Statement& text = body.emplace_back();
        text.offset = token.offset;
        text.text = token.text;
        in_.Advance();
      } else if (token.kind == TokenKind::kPrintBegin) {
        in_.Advance();
        Statement& print = body.emplace_back();
        print.kind = StatementKind::kPrint;
        print.offset = token.offset;
        print.expression = ParseTuple(in_, true);
        if (!in_.failed() && in_.Now().kind != TokenKind::kPrintEnd) in_.Unexpected();
        in_.Advance();
      } else {
        in_.Advance();
        if (in_.Now().kind == TokenKind::kName && std::ranges::find(ends, in_.Now().text) != ends.end()) return body;
        body.push_back(Tag());
        in_.ExpectTagEnd();
      }
    }
    if (!in_.failed() && ends.size() > 0) in_.Fail(fmt::format("the template ends before {}", *(ends.end() - 1)));
    return body;
  }

  // The end of a tag that has a body.
  void BeginBody() {
    in_.SkipOperator(":");
    in_.ExpectTagEnd();
  }

  // The body of a tag whose end was not read yet, up to its end tag, which is read but for its end.
  Statements BodyUntil(std::string_view end) {
    BeginBody();
    Statements body = Body({end});
    in_.SkipWord(end);
    return body;
  }

  Statement Tag() {
    const Token& token = in_.Now();
    Statement statement;
    statement.offset = token.offset;
    if (token.kind != TokenKind::kName) {
      in_.Unexpected();
      return statement;
    }
    using TagParser = void (Parser::*)(Statement&);
    constexpr std::array<std::pair<std::string_view, TagParser>, 8> kTags = {{{"if", &Parser::If},
                                                                              {"for", &Parser::For},
                                                                              {"set", &Parser::Set},
                                                                              {"macro", &Parser::MacroTag},
                                                                              {"filter", &Parser::FilterTag},
                                                                              {"generation", &Parser::Generation},
                                                                              {"break", &Parser::LoopControl},
                                                                              {"continue", &Parser::LoopControl}}};
    const auto found = std::ranges::find(kTags, token.text, &std::pair<std::string_view, TagParser>::first);
    if (found == kTags.end()) {
      const bool known = std::ranges::find(kOtherTags, token.text) != kOtherTags.end();
      in_.Fail(fmt::format("the tag \"{}\"{}", token.text, known ? " is not supported" : " does not exist"),
               known ? ErrorCode::kUnsupported : ErrorCode::kInput);
      return statement;
    }
    (this->*found->second)(statement);
    return statement;
  }

  void If(Statement& statement) {
    statement.kind = StatementKind::kIf;
    while (!in_.failed() && (in_.IsWord("if") || in_.IsWord("elif"))) {
      in_.Advance();
      Branch& branch = statement.branches.emplace_back();
      branch.condition = ParseTuple(in_, false);
      BeginBody();
      branch.body = Body({"elif", "else", "endif"});
    }
    if (in_.SkipWord("else")) {
      statement.otherwise = BodyUntil("endif");
    } else {
      in_.Advance();
    }
  }

  void For(Statement& statement) {
    statement.kind = StatementKind::kFor;
    in_.Advance();
    ++for_tags_;
    statement.target = AssignTarget(false);
    in_.Expect("in");
    statement.expression = ParseTuple(in_, false);
    if (in_.SkipWord("if")) statement.condition = ParseExpression(in_);
    if (in_.IsWord("recursive")) in_.Fail("a recursive loop", ErrorCode::kUnsupported);
    BeginBody();
    ++loops_;
    statement.body = Body({"else", "endfor"});
    --loops_;
    if (in_.SkipWord("else")) {
      statement.otherwise = BodyUntil("endfor");
    } else {
      in_.Advance();
    }
    --for_tags_;
  }

  Target AssignTarget(bool may_be_attribute) {
    Target target;
    const bool brackets = in_.SkipOperator("(");
    target.names.push_back(ExpectAssignable());
    if (may_be_attribute && !brackets && in_.SkipOperator(".")) {
      target.attribute = in_.ExpectName();
      return target;
    }
    while (in_.SkipOperator(",")) {
      target.unpacks = true;
      if (in_.Now().kind != TokenKind::kName || in_.IsWord("in")) break;
      target.names.push_back(ExpectAssignable());
      if (in_.IsOperator(".")) in_.Fail("an attribute among several names that are set", ErrorCode::kUnsupported);
    }
    if (in_.IsOperator("(")) in_.Fail("names in brackets among names that are set", ErrorCode::kUnsupported);
    if (brackets) in_.Expect(")");
    return target;
  }

  std::string ExpectAssignable() {
    constexpr std::array<std::string_view, 6> kConstants = {"true", "false", "none", "True", "False", "None"};
    if (in_.Now().kind == TokenKind::kName && std::ranges::find(kConstants, in_.Now().text) != kConstants.end()) {
      in_.Fail(fmt::format("{} cannot be set", in_.Now().text));
    }
    if (for_tags_ > 0 && in_.IsWord("loop")) in_.Fail("the variable loop cannot be set inside a loop");
    return in_.ExpectName();
  }

  void Set(Statement& statement) {
    in_.Advance();
    statement.target = AssignTarget(true);
    if (in_.SkipOperator("=")) {
      statement.kind = StatementKind::kSet;
      statement.expression = ParseTuple(in_, true);
      return;
    }
    statement.kind = StatementKind::kSetBlock;
    if (in_.IsOperator("|")) statement.expression = FiltersOfBlock();
    statement.body = BlockBody("endset");
  }

  // Filters whose innermost value is the text of a block: a null child.
  ExpressionPtr FiltersOfBlock() {
    ExpressionPtr value;
    while (!in_.failed() && in_.SkipOperator("|")) value = ParseFilter(in_, std::move(value));
    return value;
  }

  // The body of a block that is a text: no loop outside can be left from inside.
  Statements BlockBody(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    Statements body = BodyUntil(end);
    loops_ = loops;
    return body;
  }

  void FilterTag(Statement& statement) {
    statement.kind = StatementKind::kFilter;
    in_.Advance();
    statement.expression = ParseFilter(in_, nullptr);
    while (!in_.failed() && in_.SkipOperator("|"))
      statement.expression = ParseFilter(in_, std::move(statement.expression));
    statement.body = BlockBody("endfilter");
  }

  void MacroTag(Statement& statement) {
    statement.kind = StatementKind::kMacro;
    in_.Advance();
    statement.text = in_.ExpectName();
    in_.Expect("(");
    while (!in_.failed() && !in_.IsOperator(")")) {
      std::string name = ExpectAssignable();
      ExpressionPtr otherwise = in_.SkipOperator("=") ? ParseExpression(in_) : nullptr;
      if (!otherwise && !statement.parameters.empty() && statement.parameters.back().second) {
        in_.Fail("a parameter without a default behind one with a default");
      }
      statement.parameters.emplace_back(std::move(name), std::move(otherwise));
      if (!in_.SkipOperator(",")) break;
    }
    in_.Expect(")");
    statement.body = BlockBody("endmacro");
  }

  void Generation(Statement& statement) {
    statement.kind = StatementKind::kScope;
    in_.Advance();
    statement.body = BlockBody("endgeneration");
  }

  void LoopControl(Statement& statement) {
    statement.kind = in_.IsWord("break") ? StatementKind::kBreak : StatementKind::kContinue;
    if (loops_ == 0) in_.Fail(fmt::format("{} outside a loop", in_.Now().text));
    in_.Advance();
  }

  TokenReader& in_;
  int loops_ = 0;     // that break and continue can leave
  int for_tags_ = 0;  // around the current one
};

}  // namespace

Result<Statements> ParseTemplate(std::string_view source, std::string_view where, int deepest) {
  auto tokens = Tokenize(source, where);
  if (!tokens) return tokens.error();
  TokenReader in(std::move(*tokens), source, where, deepest);
  Statements body = Parser(in).Parse();
  if (in.failed()) return in.error();
  return body;
}

}  // namespace marlin::jinja
