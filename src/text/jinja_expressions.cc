#include "text/jinja_expressions.h"

#include <array>
#include <initializer_list>
#include <memory>

namespace marlin::jinja {
namespace {

constexpr std::array<std::string_view, 6> kComparisons = {"==", "!=", "<", "<=", ">", ">="};

// Recursive descent; each function parses one construct from the current token on. After an error it gives what it
// has.
class ExpressionParser {
 public:
  explicit ExpressionParser(TokenReader& in) : in_(in) {}

  ExpressionPtr Make(ExpressionKind kind, std::size_t offset, std::string name = {}) {
    auto expression = std::make_unique<Expression>();
    expression->kind = kind;
    expression->offset = offset;
    expression->name = std::move(name);
    return expression;
  }
  void Add(Expression& parent, ExpressionPtr child) {
    if (child) parent.depth = std::max(parent.depth, child->depth + 1);
    if (parent.depth > in_.deepest()) {
      in_.Fail(fmt::format("more than {} expressions in each other, this program's limit", in_.deepest()),
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
    const TokenReader::Level level(in_);
    ExpressionPtr value = Or();
    while (!in_.failed() && in_.IsWord("if")) {
      const std::size_t offset = in_.Now().offset;
      in_.Advance();
      ExpressionPtr condition = Or();
      ExpressionPtr otherwise = in_.SkipWord("else") ? Condition() : nullptr;
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
    if (in_.failed() || !in_.IsWord(word)) return left;
    auto joined = Make(kind, in_.Now().offset, {}, std::move(left));
    while (in_.SkipWord(word)) Add(*joined, operand());
    return joined;
  }

  ExpressionPtr Not() {
    if (in_.failed() || !in_.IsWord("not")) return Compare();
    const TokenReader::Level level(in_);
    const std::size_t offset = in_.Now().offset;
    in_.Advance();
    return in_.failed() ? nullptr : Make(ExpressionKind::kNot, offset, {}, Not());
  }

  // "" where none stands here.
  std::string SkipComparison() {
    for (const std::string_view op : kComparisons) {
      if (in_.SkipOperator(op)) return std::string(op);
    }
    if (in_.SkipWord("in")) return "in";
    if (!in_.failed() && in_.IsWord("not") && TokenReader::Is(in_.After(), TokenKind::kName, "in")) {
      in_.Advance();
      in_.Advance();
      return "not in";
    }
    return {};
  }

  ExpressionPtr Compare() {
    ExpressionPtr first = Sum();
    const std::size_t offset = in_.Now().offset;
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
    while (!in_.failed() && in_.Now().kind == TokenKind::kOperator &&
           std::ranges::find(operators, in_.Now().text) != operators.end()) {
      const Token& op = in_.Now();
      in_.Advance();
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
    if (!in_.failed() && power->kind == ExpressionKind::kBinary && power->name == "**") {
      const ExpressionPtr& base = power->children[0];
      const bool negative =
          base->kind == ExpressionKind::kMinus && base->children[0]->kind == ExpressionKind::kConstant;
      if (negative && power->children[1]->kind != ExpressionKind::kConstant) {
        in_.Fail("a negative number to a power that is not a number", ErrorCode::kUnsupported);
      }
    }
    return power;
  }

  ExpressionPtr Concat() {
    ExpressionPtr left = Product();
    if (in_.failed() || !in_.IsOperator("~")) return left;
    auto concat = Make(ExpressionKind::kConcat, in_.Now().offset, {}, std::move(left));
    while (in_.SkipOperator("~")) Add(*concat, Product());
    return concat;
  }

  ExpressionPtr Unary(bool with_filters) {
    const TokenReader::Level level(in_);
    if (in_.failed()) return nullptr;
    const std::size_t offset = in_.Now().offset;
    ExpressionPtr value;
    if (in_.SkipOperator("-")) {
      value = Make(ExpressionKind::kMinus, offset, {}, Unary(false));
    } else if (in_.SkipOperator("+")) {
      value = Make(ExpressionKind::kPlus, offset, {}, Unary(false));
    } else {
      value = Primary();
    }
    value = Postfix(std::move(value));
    return with_filters ? Filters(std::move(value)) : std::move(value);
  }

  ExpressionPtr Primary() {
    if (in_.failed()) return nullptr;
    const Token& token = in_.Now();
    switch (token.kind) {
      case TokenKind::kName:
        in_.Advance();
        return Word(token);
      case TokenKind::kString: {
        std::string text;
        for (; in_.Now().kind == TokenKind::kString; in_.Advance()) text += in_.Now().text;
        return Constant(token.offset, Value::Data(Text{std::make_shared<const std::string>(std::move(text))}));
      }
      case TokenKind::kInteger:
        in_.Advance();
        return Constant(token.offset, Value::Int(token.integer));
      case TokenKind::kFloat:
        in_.Advance();
        return Constant(token.offset, Value::Float(token.number));
      default:
        break;
    }
    if (in_.SkipOperator("(")) {
      ExpressionPtr value = Tuple(true, true);
      in_.Expect(")");
      return value;
    }
    if (in_.IsOperator("[")) return ListLiteral();
    if (in_.IsOperator("{")) return DictLiteral();
    in_.Unexpected();
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
    const std::size_t offset = in_.Now().offset;
    const auto one = [&] { return with_condition ? Condition() : Or(); };
    const auto ends = [&] {
      return in_.IsOperator(")") || in_.Now().kind == TokenKind::kTagEnd || in_.Now().kind == TokenKind::kPrintEnd;
    };
    if (in_brackets && ends()) return Make(ExpressionKind::kTuple, offset);
    ExpressionPtr first = one();
    if (in_.failed() || !in_.IsOperator(",")) return first;
    auto tuple = Make(ExpressionKind::kTuple, offset, {}, std::move(first));
    while (in_.SkipOperator(",") && !ends()) Add(*tuple, one());
    return tuple;
  }

  ExpressionPtr ListLiteral() {
    auto list = Make(ExpressionKind::kList, in_.Now().offset);
    in_.Expect("[");
    while (!in_.failed() && !in_.IsOperator("]")) {
      Add(*list, Condition());
      if (!in_.SkipOperator(",")) break;
    }
    in_.Expect("]");
    return list;
  }

  ExpressionPtr DictLiteral() {
    auto dict = Make(ExpressionKind::kDict, in_.Now().offset);
    in_.Expect("{");
    while (!in_.failed() && !in_.IsOperator("}")) {
      Add(*dict, Condition());
      in_.Expect(":");
      Add(*dict, Condition());
      if (!in_.SkipOperator(",")) break;
    }
    in_.Expect("}");
    return dict;
  }

  ExpressionPtr Postfix(ExpressionPtr value) {
    while (!in_.failed()) {
      if (in_.IsOperator(".")) {
        value = Attribute(std::move(value));
      } else if (in_.IsOperator("[")) {
        value = Subscript(std::move(value));
      } else if (in_.IsOperator("(")) {
        value = Call(std::move(value));
      } else {
        break;
      }
    }
    return value;
  }

  ExpressionPtr Filters(ExpressionPtr value) {
    while (!in_.failed()) {
      if (in_.IsOperator("|")) {
        in_.Advance();
        value = Filter(std::move(value));
      } else if (in_.IsWord("is")) {
        value = Test(std::move(value));
      } else if (in_.IsOperator("(")) {
        value = Call(std::move(value));
      } else {
        break;
      }
    }
    return value;
  }

  ExpressionPtr Attribute(ExpressionPtr value) {
    in_.Advance();
    const Token& token = in_.Now();
    if (token.kind == TokenKind::kInteger) {
      in_.Advance();
      return Make(ExpressionKind::kItem, token.offset, {}, std::move(value),
                  Constant(token.offset, Value::Int(token.integer)));
    }
    return Make(ExpressionKind::kAttribute, token.offset, in_.ExpectName(), std::move(value));
  }

  ExpressionPtr Subscript(ExpressionPtr value) {
    const std::size_t offset = in_.Now().offset;
    in_.Advance();
    ExpressionPtr first = in_.IsOperator(":") ? nullptr : Condition();
    if (in_.failed()) return nullptr;
    if (!in_.IsOperator(":")) {
      if (in_.IsOperator(",")) in_.Fail("an item with several subscripts", ErrorCode::kUnsupported);
      in_.Expect("]");
      return Make(ExpressionKind::kItem, offset, {}, std::move(value), std::move(first));
    }
    auto slice = Make(ExpressionKind::kSlice, offset, {}, std::move(value));
    Add(*slice, std::move(first));
    for (int i = 0; i < 2; ++i) {
      const bool more = in_.SkipOperator(":");
      Add(*slice, more && !in_.IsOperator("]") && !in_.IsOperator(":") ? Condition() : nullptr);
    }
    in_.Expect("]");
    return slice;
  }

  ExpressionPtr Call(ExpressionPtr value) {
    auto call = Make(ExpressionKind::kCall, in_.Now().offset, {}, std::move(value));
    CallArguments(*call);
    return call;
  }

  void CallArguments(Expression& call) {
    in_.Expect("(");
    while (!in_.failed() && !in_.IsOperator(")")) {
      if (in_.IsOperator("*") || in_.IsOperator("**")) in_.Fail("arguments given by * or **", ErrorCode::kUnsupported);
      if (in_.Now().kind == TokenKind::kName && TokenReader::Is(in_.After(), TokenKind::kOperator, "=")) {
        std::string name = in_.Now().text;
        in_.Advance();
        in_.Advance();
        ExpressionPtr value = Condition();
        if (in_.failed()) return;
        call.depth = std::max(call.depth, value->depth + 1);
        call.named.emplace_back(std::move(name), std::move(value));
      } else {
        if (!call.named.empty()) in_.Fail("an argument without a name behind one with a name");
        Add(call, Condition());
      }
      if (!in_.SkipOperator(",")) break;
    }
    in_.Expect(")");
  }

  ExpressionPtr Filter(ExpressionPtr value) {
    const std::size_t offset = in_.Now().offset;
    auto filter = Make(ExpressionKind::kFilter, offset, in_.ExpectName(), std::move(value));
    if (in_.IsOperator(".")) in_.Fail("a filter with a dot in its name", ErrorCode::kUnsupported);
    if (in_.IsOperator("(")) CallArguments(*filter);
    return filter;
  }

  ExpressionPtr Test(ExpressionPtr value) {
    const std::size_t offset = in_.Now().offset;
    in_.Advance();
    const bool negated = in_.SkipWord("not");
    auto test = Make(ExpressionKind::kTest, offset, in_.ExpectName(), std::move(value));
    if (in_.IsOperator("(")) {
      CallArguments(*test);
    } else if (BeginsArgument()) {
      if (in_.IsWord("is")) in_.Fail("a second `is` behind the first");
      Add(*test, Postfix(Primary()));
    }
    if (!negated || in_.failed()) return test;
    return Make(ExpressionKind::kNot, offset, {}, std::move(test));
  }

  // Whether an argument of a test without brackets stands here.
  bool BeginsArgument() const {
    switch (in_.Now().kind) {
      case TokenKind::kName:
        return !in_.IsWord("else") && !in_.IsWord("or") && !in_.IsWord("and");
      case TokenKind::kString:
      case TokenKind::kInteger:
      case TokenKind::kFloat:
        return true;
      default:
        return in_.IsOperator("[") || in_.IsOperator("{");
    }
  }

 private:
  TokenReader& in_;
};

}  // namespace

ExpressionPtr ParseExpression(TokenReader& in) { return ExpressionParser(in).Condition(); }
ExpressionPtr ParseTuple(TokenReader& in, bool with_condition) {
  return ExpressionParser(in).Tuple(false, with_condition);
}
ExpressionPtr ParseFilter(TokenReader& in, ExpressionPtr value) {
  return ExpressionParser(in).Filter(std::move(value));
}

}  // namespace marlin::jinja
