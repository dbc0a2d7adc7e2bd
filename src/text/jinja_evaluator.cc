#include "text/jinja_evaluator.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "text/jinja_builtins.h"
#include "text/jinja_operations.h"

namespace marlin::jinja {
namespace {

enum class Flow { kGoesOn, kBreaks, kContinues };

// Walks statements and expressions. After a failure of the run every function returns soon, with any result.
class Evaluator {
 public:
  explicit Evaluator(Run& run) : run_(run) {}

  Flow Do(const Statements& body, Frame& frame) {
    Flow flow = Flow::kGoesOn;
    for (std::size_t i = 0; i < body.size() && !run_.failed() && flow == Flow::kGoesOn; ++i) flow = Do(body[i], frame);
    return flow;
  }

 private:
  // The depth of the run while an expression, a statement or a macro is evaluated.
  class Level {
   public:
    explicit Level(Run& run) : run_(run), entered_(run.Enter()) {}
    ~Level() { run_.Leave(); }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    explicit operator bool() const { return entered_; }

   private:
    Run& run_;
    bool entered_;
  };

  // Variables of a block. They stay when a macro that was defined in it may still be called.
  class Scope {
   public:
    Scope(Run& run, Frame& parent) : run_(run), frame_(std::make_unique<Frame>()) { frame_->parent = &parent; }
    ~Scope() {
      if (frame_->captured) run_.Keep(std::move(frame_));
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    Frame& operator*() { return *frame_; }

   private:
    Run& run_;
    std::unique_ptr<Frame> frame_;
  };

  // --- statements

  Flow Do(const Statement& statement, Frame& frame) {
    const Level level(run_);
    if (!level) return Flow::kGoesOn;
    run_.At(statement.offset);
    switch (statement.kind) {
      case StatementKind::kText:
        run_.Write(statement.text);
        return Flow::kGoesOn;
      case StatementKind::kPrint:
        Print(*statement.expression, frame);
        return Flow::kGoesOn;
      case StatementKind::kIf:
        return If(statement, frame);
      case StatementKind::kFor:
        For(statement, frame);
        return Flow::kGoesOn;
      case StatementKind::kSet:
        Assign(statement, Get(*statement.expression, frame), frame);
        return Flow::kGoesOn;
      case StatementKind::kSetBlock:
        Assign(statement, Block(statement, frame), frame);
        return Flow::kGoesOn;
      case StatementKind::kFilter:
      case StatementKind::kScope:
        run_.Write(TextOf(run_, Block(statement, frame)));
        return Flow::kGoesOn;
      case StatementKind::kMacro:
        frame.Set(statement.text, Value::Data(run_.MakeMacro(statement, frame)));
        return Flow::kGoesOn;
      case StatementKind::kBreak:
        return Flow::kBreaks;
      case StatementKind::kContinue:
        return Flow::kContinues;
    }
    return Flow::kGoesOn;
  }

  void Print(const Expression& expression, Frame& frame) {
    const Value value = Get(expression, frame);
    if (run_.failed()) return;
    run_.At(expression.offset);
    if (value.is(Kind::kText)) {
      run_.Write(value.text());
    } else {
      run_.Write(TextOf(run_, value));
    }
  }

  Flow If(const Statement& statement, Frame& frame) {
    for (const Branch& branch : statement.branches) {
      const bool holds = IsTrue(Get(*branch.condition, frame));
      if (run_.failed()) return Flow::kGoesOn;
      if (holds) return Do(branch.body, frame);
    }
    return Do(statement.otherwise, frame);
  }

  // The text of a body, through its filters.
  Value Block(const Statement& statement, Frame& frame) {
    Scope scope(run_, frame);
    run_.BeginBlock();
    Do(statement.body, *scope);
    Value text = run_.MakeText(run_.EndBlock());
    if (!statement.expression || run_.failed()) return text;
    const Value before = std::exchange(block_, text);
    Value filtered = Get(*statement.expression, *scope);
    block_ = before;
    return filtered;
  }

  void Assign(const Statement& statement, const Value& value, Frame& frame) {
    if (run_.failed()) return;
    run_.At(statement.offset);
    const Target& target = statement.target;
    if (target.attribute.empty()) return Unpack(target, value, frame);
    const Value* const object = Find(target.names[0], frame);
    if (object == nullptr || !object->is(Kind::kNamespace)) {
      run_.Wrong(
          fmt::format("{}.{} cannot be set: {} is no namespace", target.names[0], target.attribute, target.names[0]));
      return;
    }
    if (target.attribute.starts_with('_')) {
      run_.Wrong("an attribute of a namespace that begins with an underscore");
      return;
    }
    auto& attributes = std::get<Namespace*>(object->data)->attributes;
    for (auto& [name, old] : attributes) {
      if (name != target.attribute) continue;
      old = value;
      return;
    }
    if (run_.Reserve(target.attribute.size())) attributes.emplace_back(target.attribute, value);
  }

  void Unpack(const Target& target, const Value& value, Frame& frame) {
    if (!target.unpacks) return frame.Set(target.names[0], value);
    const auto list = IterateOver(run_, value);
    if (!list) return;
    if (list->items.size() != target.names.size()) {
      run_.Wrong(fmt::format("{} names for {} values", target.names.size(), list->items.size()));
      return;
    }
    for (std::size_t i = 0; i < target.names.size(); ++i) frame.Set(target.names[i], list->items[i]);
  }

  void For(const Statement& statement, Frame& frame) {
    const auto list = IterateOver(run_, Get(*statement.expression, frame));
    if (!list || run_.failed()) return;
    Loop* const loop = run_.MakeLoop();
    loop->fetch = [&, at = std::size_t{0}](Value& item) mutable {
      while (at < list->items.size() && !run_.failed()) {
        item = list->items[at++];
        if (Passes(statement, item, frame)) return !run_.failed();
      }
      return false;
    };
    const bool reached_end = Turns(statement, *loop, frame);
    loop->fetch = nullptr;
    if (!reached_end) Do(statement.otherwise, frame);
  }

  bool Passes(const Statement& statement, const Value& item, Frame& frame) {
    if (!statement.condition) return true;
    Scope scope(run_, frame);
    Unpack(statement.target, item, *scope);
    return !run_.failed() && IsTrue(Get(*statement.condition, *scope));
  }

  // Whether one of them reached the end of the body: Jinja runs `else` when none did.
  bool Turns(const Statement& statement, Loop& loop, Frame& frame) {
    bool reached_end = false;
    Value current;
    for (std::size_t turn = 0; run_.Step() && loop.HasNext(); ++turn) {
      loop.index0 = turn;
      loop.previous = std::exchange(current, std::move(loop.ahead.front()));
      loop.ahead.pop_front();
      Scope scope(run_, frame);
      run_.At(statement.offset);
      Unpack(statement.target, current, *scope);
      (*scope).Set("loop", Value::Data(&loop));
      const Flow flow = Do(statement.body, *scope);
      if (run_.failed() || flow == Flow::kBreaks) break;
      reached_end = reached_end || flow == Flow::kGoesOn;
    }
    return reached_end;
  }

  // --- expressions

  const Value* Find(std::string_view name, const Frame& frame) const { return frame.Find(name); }

  Value Get(const Expression& e, Frame& frame) {
    const Level level(run_);
    if (!level) return {};
    switch (e.kind) {
      case ExpressionKind::kConstant:
        return e.constant;
      case ExpressionKind::kName:
        return Variable(e, frame);
      case ExpressionKind::kList:
        return run_.MakeList(GetAll(e, 0, frame));
      case ExpressionKind::kTuple:
        return run_.MakeList(GetAll(e, 0, frame), ListKind::kTuple);
      case ExpressionKind::kDict:
        return DictOf(e, frame);
      case ExpressionKind::kAttribute: {
        const Value object = Get(*e.children[0], frame);
        return At(e) ? AttributeOf(run_, object, e.name) : Value();
      }
      case ExpressionKind::kItem:
      case ExpressionKind::kSlice:
        return Subscript(e, frame);
      case ExpressionKind::kCall:
        return Call(e, frame);
      case ExpressionKind::kFilter:
      case ExpressionKind::kTest:
        return FilterOrTest(e, frame);
      default:
        return Operator(e, frame);
    }
  }

  // Sets the place of messages; false after a failure.
  bool At(const Expression& e) {
    run_.At(e.offset);
    return !run_.failed();
  }

  Items GetAll(const Expression& e, std::size_t first, Frame& frame) {
    Items items;
    for (std::size_t i = first; i < e.children.size() && !run_.failed(); ++i)
      items.push_back(Get(*e.children[i], frame));
    run_.At(e.offset);
    return items;
  }

  Value Variable(const Expression& e, Frame& frame) {
    run_.At(e.offset);
    if (const Value* found = Find(e.name, frame)) return *found;
    if (const Function* function = FindFunction(e.name)) return Value::Data(function);
    return run_.MakeUndefined(fmt::format("'{}' is undefined", e.name));
  }

  Value DictOf(const Expression& e, Frame& frame) {
    const Items all = GetAll(e, 0, frame);
    std::vector<std::pair<Value, Value>> entries;
    for (std::size_t i = 0; i + 1 < all.size() && !run_.failed(); i += 2) SetKey(run_, entries, all[i], all[i + 1]);
    return run_.failed() ? Value() : run_.MakeDict(std::move(entries));
  }

  Value Subscript(const Expression& e, Frame& frame) {
    std::array<Value, 4> parts = {Value(), Value::None(), Value::None(), Value::None()};
    for (std::size_t i = 0; i < e.children.size() && !run_.failed(); ++i) {
      if (e.children[i]) parts[i] = Get(*e.children[i], frame);
    }
    if (!At(e)) return {};
    return e.kind == ExpressionKind::kItem ? ItemOf(run_, parts[0], parts[1])
                                           : SliceOf(run_, parts[0], parts[1], parts[2], parts[3]);
  }

  Arguments ArgumentsOf(const Expression& e, Frame& frame) {
    Arguments arguments{GetAll(e, 1, frame), {}};
    for (const auto& [name, value] : e.named) {
      if (run_.failed()) break;
      arguments.named.emplace_back(name, Get(*value, frame));
    }
    run_.At(e.offset);
    return arguments;
  }

  Value Call(const Expression& e, Frame& frame) {
    const Expression& callee = *e.children[0];
    const Value function = Get(callee, frame);
    if (run_.failed()) return {};
    const Arguments arguments = ArgumentsOf(e, frame);
    if (run_.failed()) return {};
    run_.At(callee.offset);
    switch (function.kind()) {
      case Kind::kMethod: {
        const auto& method = *std::get<std::shared_ptr<const Method>>(function.data);
        return CallMethod(run_, method.self, method.name, arguments);
      }
      case Kind::kFunction:
        return std::get<const Function*>(function.data)->call(run_, arguments);
      case Kind::kMacro:
        return CallMacro(*std::get<const Macro*>(function.data), arguments);
      case Kind::kUndefined: {
        const auto& message = std::get<Undefined>(function.data).message;
        return run_.Wrong(message ? *message : "an undefined value is called");
      }
      default:
        return run_.Wrong(fmt::format("a {} cannot be called", TypeName(function)));
    }
  }

  Value CallMacro(const Macro& macro, const Arguments& arguments) {
    const Level level(run_);
    if (!level) return {};
    const Statement& definition = *macro.definition;
    std::vector<std::string_view> names;
    for (const auto& [name, otherwise] : definition.parameters) names.push_back(name);
    const Bound bound(run_, arguments, fmt::format("the macro {}", definition.text), names, 0);
    if (run_.failed()) return {};
    Scope scope(run_, *macro.closure);
    for (std::size_t i = 0; i < names.size() && !run_.failed(); ++i) {
      const ExpressionPtr& otherwise = definition.parameters[i].second;
      Value value;
      if (bound.has(i)) {
        value = bound[i];
      } else {
        value = otherwise ? Get(*otherwise, *scope)
                          : run_.MakeUndefined(fmt::format("the parameter '{}' was not given", names[i]));
      }
      (*scope).Set(names[i], std::move(value));
    }
    run_.BeginBlock();
    Do(definition.body, *scope);
    return run_.MakeText(run_.EndBlock());
  }

  Value FilterOrTest(const Expression& e, Frame& frame) {
    const Value input = e.children[0] ? Get(*e.children[0], frame) : block_;
    if (run_.failed()) return {};
    const Arguments arguments = ArgumentsOf(e, frame);
    if (run_.failed()) return {};
    if (e.kind == ExpressionKind::kTest) return Value::Bool(ApplyTest(run_, e.name, input, arguments));
    return ApplyFilter(run_, e.name, input, arguments);
  }

  Value Operator(const Expression& e, Frame& frame) {
    if (e.kind == ExpressionKind::kAnd || e.kind == ExpressionKind::kOr) return AndOr(e, frame);
    if (e.kind == ExpressionKind::kCompare) return Comparison(e, frame);
    if (e.kind == ExpressionKind::kCondition) return Condition(e, frame);
    if (e.kind == ExpressionKind::kConcat) return Concat(e, frame);
    const Value left = Get(*e.children[0], frame);
    if (run_.failed()) return {};
    if (e.kind == ExpressionKind::kNot) return Value::Bool(!IsTrue(left));
    const Value right = e.kind == ExpressionKind::kBinary ? Get(*e.children[1], frame) : Value();
    if (!At(e)) return {};
    if (e.kind == ExpressionKind::kBinary) return Arithmetic(run_, e.name, left, right);
    const Value negated = Negate(run_, left);
    return e.kind == ExpressionKind::kMinus ? negated : IsInteger(left) ? Value::Int(IntegerOf(left)) : left;
  }

  Value AndOr(const Expression& e, Frame& frame) {
    Value value;
    for (const auto& child : e.children) {
      value = Get(*child, frame);
      if (run_.failed() || IsTrue(value) == (e.kind == ExpressionKind::kOr)) break;
    }
    return value;
  }

  Value Comparison(const Expression& e, Frame& frame) {
    Value left = Get(*e.children[0], frame);
    for (std::size_t i = 0; i < e.names.size(); ++i) {
      Value right = run_.failed() ? Value() : Get(*e.children[i + 1], frame);
      if (!At(e)) return {};
      if (!Compare(run_, e.names[i], left, right)) return Value::Bool(false);
      left = std::move(right);
    }
    return Value::Bool(true);
  }

  Value Condition(const Expression& e, Frame& frame) {
    const bool holds = IsTrue(Get(*e.children[1], frame));
    if (run_.failed()) return {};
    if (holds) return Get(*e.children[0], frame);
    if (e.children[2]) return Get(*e.children[2], frame);
    return run_.MakeUndefined("the condition does not hold, and there is no else");
  }

  Value Concat(const Expression& e, Frame& frame) {
    std::string text;
    for (const auto& child : e.children) {
      const Value part = Get(*child, frame);
      if (!At(e)) return {};
      const std::string piece = TextOf(run_, part);
      if (!run_.Reserve(piece.size())) return {};
      text += piece;
    }
    return run_.MakeText(text);
  }

  Run& run_;
  Value block_;  // what the filters of a block apply to
};

}  // namespace

void Evaluate(Run& run, const Statements& body, const Dict& variables) {
  auto context = std::make_unique<Frame>();
  for (const auto& [name, value] : variables.entries) context->Set(name.text(), value);
  auto top = std::make_unique<Frame>();
  top->parent = context.get();
  Evaluator(run).Do(body, *top);
  run.Keep(std::move(top));
  run.Keep(std::move(context));
}

}  // namespace marlin::jinja
