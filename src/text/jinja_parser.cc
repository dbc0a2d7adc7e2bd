#include "text/jinja_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <span>

#include "text/jinja_lexer.h"
#include "text/jinja_run.h"
#include "text/jinja_text.h"

namespace marlin::jinja {
namespace {

// Tags of Jinja and of its extensions that this program does not know.
constexpr std::array<std::string_view, 13> kOtherTags = {"call",  "include",   "import",     "from", "extends",
                                                         "block", "with",      "autoescape", "do",   "trans",
                                                         "debug", "pluralize", "print"};
constexpr std::array<std::string_view, 6> kComparisons = {"==", "!=", "<", "<=", ">", ">="};

// Recursive descent; each function parses one construct from the current token on. After an error it gives what it
// has, and nothing is parsed further.
class Parser {
 public:
  Parser(std::vector<Token> tokens, std::string_view source, std::string_view where, int deepest)
      : tokens_(std::move(tokens)), source_(source), where_(where), deepest_(deepest) {}

  Result<Statements> Parse() {
    Statements body = Body({});
    if (!error_ && Now().kind != TokenKind::kEnd) Unexpected();
    if (error_) return *error_;
    return body;
  }

 private:
  // Tokens.
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

  // Errors.
  void Fail(std::string_view message, ErrorCode code = ErrorCode::kInput) {
    if (!error_) error_ = Error{code, fmt::format("{}: {}: {}", where_, PlaceIn(source_, Now().offset), message)};
  }
  void Unexpected() { Fail(fmt::format("unexpected {}", Describe(Now()))); }

  // Counts nested constructs while one is parsed.
  class Level {
   public:
    explicit Level(Parser& parser) : parser_(parser) {
      if (++parser_.level_ > parser_.deepest_) {
        parser_.Fail(fmt::format("more than {} constructs in each other, this program's limit", parser_.deepest_),
                     ErrorCode::kUnsupported);
      }
    }
    ~Level() { --parser_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Parser& parser_;
  };

  // Expressions.
  ExpressionPtr Make(ExpressionKind kind, std::size_t offset, std::string name = {}) {
    auto expression = std::make_unique<Expression>();
    expression->kind = kind;
    expression->offset = offset;
    expression->name = std::move(name);
    return expression;
  }
  void Add(Expression& parent, ExpressionPtr child) {
    if (child) parent.depth = std::max(parent.depth, child->depth + 1);
    if (parent.depth > deepest_) {
      Fail(fmt::format("more than {} expressions in each other, this program's limit", deepest_),
           ErrorCode::kUnsupported);
    }
    parent.children.push_back(std::move(child));
  }
  ExpressionPtr Make(ExpressionKind kind, std::size_t offset, std::string name, ExpressionPtr first,
                     ExpressionPtr second = nullptr) {
    auto expression = Make(kind, offset, std::move(name));
    Add(*expression, std::move(first));
    if (second) Add(*expression, std::move(second));
    return expression;
  }
  ExpressionPtr Constant(std::size_t offset, Value value) {
    auto expression = Make(ExpressionKind::kConstant, offset);
    expression->constant = std::move(value);
    return expression;
  }

  ExpressionPtr Condition() {
    const Level level(*this);
    ExpressionPtr value = Or();
    while (!error_ && IsWord("if")) {
      const std::size_t offset = Now().offset;
      Advance();
      ExpressionPtr condition = Or();
      ExpressionPtr otherwise = SkipWord("else") ? Condition() : nullptr;
      value = Make(ExpressionKind::kCondition, offset, {}, std::move(value), std::move(condition));
      Add(*value, std::move(otherwise));
    }
    return value;
  }

  ExpressionPtr Or() {
    return Joined("or", ExpressionKind::kOr, [this] { return And(); });
  }
  ExpressionPtr And() {
    return Joined("and", ExpressionKind::kAnd, [this] { return Not(); });
  }

  template <class Operand>
  ExpressionPtr Joined(std::string_view word, ExpressionKind kind, Operand operand) {
    ExpressionPtr left = operand();
    if (error_ || !IsWord(word)) return left;
    auto joined = Make(kind, Now().offset, {}, std::move(left));
    while (SkipWord(word)) Add(*joined, operand());
    return joined;
  }

  ExpressionPtr Not() {
    if (error_ || !IsWord("not")) return Compare();
    const Level level(*this);
    const std::size_t offset = Now().offset;
    Advance();
    return error_ ? nullptr : Make(ExpressionKind::kNot, offset, {}, Not());
  }

  // "" where none stands here.
  std::string SkipComparison() {
    for (const std::string_view op : kComparisons) {
      if (SkipOperator(op)) return std::string(op);
    }
    if (SkipWord("in")) return "in";
    if (!error_ && IsWord("not") && Is(After(), TokenKind::kName, "in")) {
      Advance();
      Advance();
      return "not in";
    }
    return {};
  }

  ExpressionPtr Compare() {
    ExpressionPtr first = Sum();
    const std::size_t offset = Now().offset;
    std::string op = SkipComparison();
    if (op.empty()) return first;
    auto compare = Make(ExpressionKind::kCompare, offset, {}, std::move(first));
    for (; !op.empty(); op = SkipComparison()) {
      compare->names.push_back(op);
      Add(*compare, Sum());
    }
    return compare;
  }

  template <class Operand>
  ExpressionPtr Binary(std::initializer_list<std::string_view> operators, Operand operand) {
    ExpressionPtr left = operand();
    while (!error_ && Now().kind == TokenKind::kOperator &&
           std::ranges::find(operators, Now().text) != operators.end()) {
      const Token& op = Now();
      Advance();
      ExpressionPtr right = operand();
      left = Make(ExpressionKind::kBinary, op.offset, op.text, std::move(left), std::move(right));
    }
    return left;
  }

  ExpressionPtr Sum() {
    return Binary({"+", "-"}, [this] { return Concat(); });
  }
  ExpressionPtr Product() {
    return Binary({"*", "/", "//", "%"}, [this] { return Power(); });
  }
  ExpressionPtr Power() {
    ExpressionPtr power = Binary({"**"}, [this] { return Unary(true); });
    // Jinja reads -2 ** x as -(2 ** x), but -2 ** 2 as (-2) ** 2.
    if (power && power->kind == ExpressionKind::kBinary && power->name == "**") {
      const ExpressionPtr& base = power->children[0];
      const bool negative = base && base->kind == ExpressionKind::kMinus && base->children[0] &&
                            base->children[0]->kind == ExpressionKind::kConstant;
      if (negative && power->children[1] && power->children[1]->kind != ExpressionKind::kConstant) {
        Fail("a negative number to a power that is not a number", ErrorCode::kUnsupported);
      }
    }
    return power;
  }

  ExpressionPtr Concat() {
    ExpressionPtr left = Product();
    if (error_ || !IsOperator("~")) return left;
    auto concat = Make(ExpressionKind::kConcat, Now().offset, {}, std::move(left));
    while (SkipOperator("~")) Add(*concat, Product());
    return concat;
  }

  ExpressionPtr Unary(bool with_filters) {
    const Level level(*this);
    if (error_) return nullptr;
    const std::size_t offset = Now().offset;
    ExpressionPtr value;
    if (SkipOperator("-")) {
      value = Make(ExpressionKind::kMinus, offset, {}, Unary(false));
    } else if (SkipOperator("+")) {
      value = Make(ExpressionKind::kPlus, offset, {}, Unary(false));
    } else {
      value = Primary();
    }
    value = Postfix(std::move(value));
    return with_filters ? Filters(std::move(value)) : std::move(value);
  }

  ExpressionPtr Primary() {
    if (error_) return nullptr;
    const Token& token = Now();
    switch (token.kind) {
      case TokenKind::kName:
        Advance();
        return Word(token);
      case TokenKind::kString: {
        std::string text;
        for (; Now().kind == TokenKind::kString; Advance()) text += Now().text;
        return Constant(token.offset, Value::Data(Text{std::make_shared<const std::string>(std::move(text))}));
      }
      case TokenKind::kInteger:
        Advance();
        return Constant(token.offset, Value::Int(token.integer));
      case TokenKind::kFloat:
        Advance();
        return Constant(token.offset, Value::Float(token.number));
      default:
        break;
    }
    if (SkipOperator("(")) {
      ExpressionPtr value = Tuple(true, true);
      Expect(")");
      return value;
    }
    if (IsOperator("[")) return ListLiteral();
    if (IsOperator("{")) return DictLiteral();
    Unexpected();
    return nullptr;
  }

  ExpressionPtr Word(const Token& token) {
    const std::string& word = token.text;
    if (word == "true" || word == "True") return Constant(token.offset, Value::Bool(true));
    if (word == "false" || word == "False") return Constant(token.offset, Value::Bool(false));
    if (word == "none" || word == "None") return Constant(token.offset, Value::None());
    return Make(ExpressionKind::kName, token.offset, word);
  }

  // One expression, or several with commas between them.
  ExpressionPtr Tuple(bool in_brackets, bool with_condition) {
    const std::size_t offset = Now().offset;
    const auto one = [&] { return with_condition ? Condition() : Or(); };
    const auto ends = [&] {
      return IsOperator(")") || Now().kind == TokenKind::kTagEnd || Now().kind == TokenKind::kPrintEnd;
    };
    if (in_brackets && ends()) return Make(ExpressionKind::kTuple, offset);
    ExpressionPtr first = one();
    if (error_ || !IsOperator(",")) return first;
    auto tuple = Make(ExpressionKind::kTuple, offset, {}, std::move(first));
    while (SkipOperator(",") && !ends()) Add(*tuple, one());
    return tuple;
  }

  ExpressionPtr ListLiteral() {
    auto list = Make(ExpressionKind::kList, Now().offset);
    Expect("[");
    while (!error_ && !IsOperator("]")) {
      Add(*list, Condition());
      if (!SkipOperator(",")) break;
    }
    Expect("]");
    return list;
  }

  ExpressionPtr DictLiteral() {
    auto dict = Make(ExpressionKind::kDict, Now().offset);
    Expect("{");
    while (!error_ && !IsOperator("}")) {
      Add(*dict, Condition());
      Expect(":");
      Add(*dict, Condition());
      if (!SkipOperator(",")) break;
    }
    Expect("}");
    return dict;
  }

  ExpressionPtr Postfix(ExpressionPtr value) {
    while (!error_) {
      if (IsOperator(".")) {
        value = Attribute(std::move(value));
      } else if (IsOperator("[")) {
        value = Subscript(std::move(value));
      } else if (IsOperator("(")) {
        value = Call(std::move(value));
      } else {
        break;
      }
    }
    return value;
  }

  ExpressionPtr Filters(ExpressionPtr value) {
    while (!error_) {
      if (IsOperator("|")) {
        Advance();
        value = Filter(std::move(value));
      } else if (IsWord("is")) {
        value = Test(std::move(value));
      } else if (IsOperator("(")) {
        value = Call(std::move(value));
      } else {
        break;
      }
    }
    return value;
  }

  ExpressionPtr Attribute(ExpressionPtr value) {
    Advance();
    const Token& token = Now();
    if (token.kind == TokenKind::kInteger) {
      Advance();
      return Make(ExpressionKind::kItem, token.offset, {}, std::move(value),
                  Constant(token.offset, Value::Int(token.integer)));
    }
    return Make(ExpressionKind::kAttribute, token.offset, ExpectName(), std::move(value));
  }

  ExpressionPtr Subscript(ExpressionPtr value) {
    const std::size_t offset = Now().offset;
    Advance();
    ExpressionPtr first = IsOperator(":") ? nullptr : Condition();
    if (error_) return nullptr;
    if (!IsOperator(":")) {
      if (IsOperator(",")) Fail("an item with several subscripts", ErrorCode::kUnsupported);
      Expect("]");
      return Make(ExpressionKind::kItem, offset, {}, std::move(value), std::move(first));
    }
    auto slice = Make(ExpressionKind::kSlice, offset, {}, std::move(value));
    Add(*slice, std::move(first));
    for (int i = 0; i < 2; ++i) {
      const bool more = SkipOperator(":");
      Add(*slice, more && !IsOperator("]") && !IsOperator(":") ? Condition() : nullptr);
    }
    Expect("]");
    return slice;
  }

  ExpressionPtr Call(ExpressionPtr value) {
    auto call = Make(ExpressionKind::kCall, Now().offset, {}, std::move(value));
    CallArguments(*call);
    return call;
  }

  void CallArguments(Expression& call) {
    Expect("(");
    while (!error_ && !IsOperator(")")) {
      if (IsOperator("*") || IsOperator("**")) Fail("arguments given by * or **", ErrorCode::kUnsupported);
      if (Now().kind == TokenKind::kName && Is(After(), TokenKind::kOperator, "=")) {
        std::string name = Now().text;
        Advance();
        Advance();
        ExpressionPtr value = Condition();
        if (error_) return;
        call.depth = std::max(call.depth, value->depth + 1);
        call.named.emplace_back(std::move(name), std::move(value));
      } else {
        if (!call.named.empty()) Fail("an argument without a name behind one with a name");
        Add(call, Condition());
      }
      if (!SkipOperator(",")) break;
    }
    Expect(")");
  }

  ExpressionPtr Filter(ExpressionPtr value) {
    const std::size_t offset = Now().offset;
    auto filter = Make(ExpressionKind::kFilter, offset, ExpectName(), std::move(value));
    if (IsOperator(".")) Fail("a filter with a dot in its name", ErrorCode::kUnsupported);
    if (IsOperator("(")) CallArguments(*filter);
    return filter;
  }

  ExpressionPtr Test(ExpressionPtr value) {
    const std::size_t offset = Now().offset;
    Advance();
    const bool negated = SkipWord("not");
    auto test = Make(ExpressionKind::kTest, offset, ExpectName(), std::move(value));
    if (IsOperator("(")) {
      CallArguments(*test);
    } else if (BeginsArgument()) {
      if (IsWord("is")) Fail("a second `is` behind the first");
      Add(*test, Postfix(Primary()));
    }
    if (!negated || error_) return test;
    return Make(ExpressionKind::kNot, offset, {}, std::move(test));
  }

  // Whether an argument of a test without brackets stands here.
  bool BeginsArgument() const {
    switch (Now().kind) {
      case TokenKind::kName:
        return !IsWord("else") && !IsWord("or") && !IsWord("and");
      case TokenKind::kString:
      case TokenKind::kInteger:
      case TokenKind::kFloat:
        return true;
      default:
        return IsOperator("[") || IsOperator("{");
    }
  }

  // Statements.
  // Up to a tag that begins with one of these words, which becomes the current token; or to the end of the template.
  Statements Body(std::initializer_list<std::string_view> ends) {
    const Level level(*this);
    Statements body;
    while (!error_ && Now().kind != TokenKind::kEnd) {
      const Token& token = Now();
      if (token.kind == TokenKind::kText) {
        Statement& text = body.emplace_back();
        text.offset = token.offset;
        text.text = token.text;
        Advance();
      } else if (token.kind == TokenKind::kPrintBegin) {
        Advance();
        Statement& print = body.emplace_back();
        print.kind = StatementKind::kPrint;
        print.offset = token.offset;
        print.expression = Tuple(false, true);
        if (!error_ && Now().kind != TokenKind::kPrintEnd) Unexpected();
        Advance();
      } else {
        Advance();
        if (Now().kind == TokenKind::kName && std::ranges::find(ends, Now().text) != ends.end()) return body;
        body.push_back(Tag());
        ExpectTagEnd();
      }
    }
    if (!error_ && ends.size() > 0) Fail(fmt::format("the template ends before {}", *(ends.end() - 1)));
    return body;
  }

  // The end of a tag that has a body.
  void BeginBody() {
    SkipOperator(":");
    ExpectTagEnd();
  }

  // The body of a tag whose end was not read yet, up to its end tag, which is read but for its end.
  Statements BodyUntil(std::string_view end) {
    BeginBody();
    Statements body = Body({end});
    SkipWord(end);
    return body;
  }

  Statement Tag() {
    const Token& token = Now();
    Statement statement;
    statement.offset = token.offset;
    if (token.kind != TokenKind::kName) {
      Unexpected();
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
      Fail(fmt::format("the tag \"{}\"{}", token.text, known ? " is not supported" : " does not exist"),
           known ? ErrorCode::kUnsupported : ErrorCode::kInput);
      return statement;
    }
    (this->*found->second)(statement);
    return statement;
  }

  void If(Statement& statement) {
    statement.kind = StatementKind::kIf;
    while (!error_ && (IsWord("if") || IsWord("elif"))) {
      Advance();
      Branch& branch = statement.branches.emplace_back();
      branch.condition = Tuple(false, false);
      BeginBody();
      branch.body = Body({"elif", "else", "endif"});
    }
    if (SkipWord("else")) {
      statement.otherwise = BodyUntil("endif");
    } else {
      Advance();
    }
  }

  void For(Statement& statement) {
    statement.kind = StatementKind::kFor;
    Advance();
    ++for_tags_;
    statement.target = AssignTarget(false);
    Expect("in");
    statement.expression = Tuple(false, false);
    if (SkipWord("if")) statement.condition = Condition();
    if (IsWord("recursive")) Fail("a recursive loop", ErrorCode::kUnsupported);
    BeginBody();
    ++loops_;
    statement.body = Body({"else", "endfor"});
    --loops_;
    if (SkipWord("else")) {
      statement.otherwise = BodyUntil("endfor");
    } else {
      Advance();
    }
    --for_tags_;
  }

  Target AssignTarget(bool may_be_attribute) {
    Target target;
    const bool brackets = SkipOperator("(");
    target.names.push_back(ExpectAssignable());
    if (may_be_attribute && !brackets && SkipOperator(".")) {
      target.attribute = ExpectName();
      return target;
    }
    while (SkipOperator(",")) {
      target.unpacks = true;
      if (Now().kind != TokenKind::kName || IsWord("in")) break;
      target.names.push_back(ExpectAssignable());
      if (IsOperator(".")) Fail("an attribute among several names that are set", ErrorCode::kUnsupported);
    }
    if (IsOperator("(")) Fail("names in brackets among names that are set", ErrorCode::kUnsupported);
    if (brackets) Expect(")");
    return target;
  }

  std::string ExpectAssignable() {
    constexpr std::array<std::string_view, 6> kConstants = {"true", "false", "none", "True", "False", "None"};
    if (Now().kind == TokenKind::kName && std::ranges::find(kConstants, Now().text) != kConstants.end()) {
      Fail(fmt::format("{} cannot be set", Now().text));
    }
    if (for_tags_ > 0 && IsWord("loop")) Fail("the variable loop cannot be set inside a loop");
    return ExpectName();
  }

  void Set(Statement& statement) {
    Advance();
    statement.target = AssignTarget(true);
    if (SkipOperator("=")) {
      statement.kind = StatementKind::kSet;
      statement.expression = Tuple(false, true);
      return;
    }
    statement.kind = StatementKind::kSetBlock;
    if (IsOperator("|")) statement.expression = FiltersOfBlock();
    statement.body = BlockBody("endset");
  }

  // Filters whose innermost value is the text of a block: a null child.
  ExpressionPtr FiltersOfBlock() {
    ExpressionPtr value;
    while (!error_ && SkipOperator("|")) value = Filter(std::move(value));
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
    Advance();
    statement.expression = Filter(nullptr);
    while (!error_ && SkipOperator("|")) statement.expression = Filter(std::move(statement.expression));
    statement.body = BlockBody("endfilter");
  }

  void MacroTag(Statement& statement) {
    statement.kind = StatementKind::kMacro;
    Advance();
    statement.text = ExpectName();
    Expect("(");
    while (!error_ && !IsOperator(")")) {
      std::string name = ExpectAssignable();
      ExpressionPtr otherwise = SkipOperator("=") ? Condition() : nullptr;
      if (!otherwise && !statement.parameters.empty() && statement.parameters.back().second) {
        Fail("a parameter without a default behind one with a default");
      }
      statement.parameters.emplace_back(std::move(name), std::move(otherwise));
      if (!SkipOperator(",")) break;
    }
    Expect(")");
    statement.body = BlockBody("endmacro");
  }

  void Generation(Statement& statement) {
    statement.kind = StatementKind::kScope;
    Advance();
    statement.body = BlockBody("endgeneration");
  }

  void LoopControl(Statement& statement) {
    statement.kind = IsWord("break") ? StatementKind::kBreak : StatementKind::kContinue;
    if (loops_ == 0) Fail(fmt::format("{} outside a loop", Now().text));
    Advance();
  }

  std::vector<Token> tokens_;
  std::string_view source_, where_;
  int deepest_;
  std::size_t at_ = 0;
  int level_ = 0;
  int loops_ = 0;     // that break and continue can leave
  int for_tags_ = 0;  // around the current one
  std::optional<Error> error_;
};

}  // namespace

Result<Statements> ParseTemplate(std::string_view source, std::string_view where, int deepest) {
  auto tokens = Tokenize(source, where);
  if (!tokens) return tokens.error();
  return Parser(std::move(*tokens), source, where, deepest).Parse();
}

}  // namespace marlin::jinja
