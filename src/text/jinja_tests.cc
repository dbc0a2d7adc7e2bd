// The tests of Jinja: `x is name`.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text/jinja_builtins.h"
#include "text/jinja_operations.h"

namespace marlin::jinja {
namespace {

struct PlainTest {
  std::string_view name;
  bool (*holds)(const Value&);
};

template <Kind kind>
bool IsKind(const Value& value) {
  return value.is(kind);
}

bool IsIterable(const Value& value) {
  return value.is(Kind::kUndefined) || value.is(Kind::kText) || value.is(Kind::kList) || value.is(Kind::kDict) ||
         value.is(Kind::kIterator) || value.is(Kind::kLoop);
}

// What has a length and positions; an undefined value counts.
bool IsSequenceValue(const Value& value) {
  if (value.is(Kind::kList)) return !value.list().is_view();
  return value.is(Kind::kUndefined) || value.is(Kind::kText) || value.is(Kind::kDict);
}

constexpr std::array kPlainTests = {
    PlainTest{"defined", [](const Value& v) { return !v.is(Kind::kUndefined); }},
    PlainTest{"undefined", IsKind<Kind::kUndefined>},
    PlainTest{"none", IsKind<Kind::kNone>},
    PlainTest{"boolean", IsKind<Kind::kBool>},
    PlainTest{"integer", IsKind<Kind::kInt>},
    PlainTest{"float", IsKind<Kind::kFloat>},
    PlainTest{"number", IsNumber},
    PlainTest{"string", IsKind<Kind::kText>},
    PlainTest{"mapping", IsKind<Kind::kDict>},
    PlainTest{"iterable", IsIterable},
    PlainTest{"sequence", IsSequenceValue},
    PlainTest{"true", [](const Value& v) { return v.is(Kind::kBool) && v.as_bool(); }},
    PlainTest{"false", [](const Value& v) { return v.is(Kind::kBool) && !v.as_bool(); }},
};

struct ComparingTest {
  std::string_view name, op;
};

constexpr std::array kComparingTests = {
    ComparingTest{"eq", "=="}, ComparingTest{"equalto", "=="},    ComparingTest{"==", "=="},
    ComparingTest{"ne", "!="}, ComparingTest{"!=", "!="},         ComparingTest{"lt", "<"},
    ComparingTest{"<", "<"},   ComparingTest{"lessthan", "<"},    ComparingTest{"le", "<="},
    ComparingTest{"<=", "<="}, ComparingTest{"gt", ">"},          ComparingTest{">", ">"},
    ComparingTest{"ge", ">="}, ComparingTest{"greaterthan", ">"}, ComparingTest{">=", ">="},
    ComparingTest{"in", "in"}};

bool IsDivisible(Run& run, const Value& value, const Value& by, std::int64_t remainder) {
  return Equals(run, Arithmetic(run, "%", value, by), Value::Int(remainder)) && !run.failed();
}

}  // namespace

bool ApplyTest(Run& run, std::string_view name, const Value& value, const Arguments& arguments) {
  if (!run.Step()) return false;
  const std::string what = fmt::format("the test {}", name);
  if (const auto found = std::ranges::find(kPlainTests, name, &PlainTest::name); found != kPlainTests.end()) {
    const Bound none(run, arguments, what, {}, 0);
    return found->holds(value);
  }
  if (name == "odd" || name == "even") {
    const Bound none(run, arguments, what, {}, 0);
    return IsDivisible(run, value, Value::Int(2), name == "odd" ? 1 : 0);
  }
  const auto compares = std::ranges::find(kComparingTests, name, &ComparingTest::name);
  if (compares == kComparingTests.end() && name != "divisibleby") {
    run.Unsupported(fmt::format("{} is not supported", what));
    return false;
  }
  constexpr std::array<std::string_view, 1> kOther = {"other"};
  const Bound bound(run, arguments, what, kOther, 1);
  if (run.failed()) return false;
  return name == "divisibleby" ? IsDivisible(run, value, bound[0], 0) : Compare(run, compares->op, value, bound[0]);
}

}  // namespace marlin::jinja
