// Arithmetic of Jinja expressions: Python's, with integers of 64 bits.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "text/jinja_operations.h"
#include "text/jinja_text.h"

namespace marlin::jinja {
namespace {

Value TooLarge(Run& run) { return run.Unsupported("an integer beyond 64 bits"); }

Value IntegerPower(Run& run, std::int64_t base, std::int64_t exponent) {
  std::int64_t power = 1;
  for (; exponent > 0; --exponent) {
    if (!run.Step()) return {};
    if (__builtin_mul_overflow(power, base, &power)) return TooLarge(run);
    if (power == 0 || (power == 1 && base == 1)) break;
    if (base == -1) return Value::Int(exponent % 2 == 1 ? -1 : 1);
  }
  return Value::Int(power);
}

// The quotient is rounded down, and the remainder has the divisor's sign.
Value IntegerDivision(Run& run, std::string_view op, std::int64_t a, std::int64_t b) {
  if (b == -1) {
    std::int64_t negated = 0;
    if (op == "%") return Value::Int(0);
    return __builtin_sub_overflow(std::int64_t{0}, a, &negated) ? TooLarge(run) : Value::Int(negated);
  }
  const std::int64_t remainder = a % b;
  const bool moves = remainder != 0 && (remainder < 0) != (b < 0);
  if (op == "%") return Value::Int(moves ? remainder + b : remainder);
  return Value::Int(a / b - (moves ? 1 : 0));
}

Value OfIntegers(Run& run, std::string_view op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (op == "**") {
    if (b >= 0) return IntegerPower(run, a, b);
    if (a == 0) return run.Wrong("zero to a negative power");
    return Value::Float(std::pow(static_cast<double>(a), static_cast<double>(b)));
  } else if (b == 0) {
    return run.Wrong("a division by zero");
  } else if (op == "/") {
    constexpr std::int64_t kExact = std::int64_t{1} << 53;
    if (std::abs(a / 2) > kExact / 2 || std::abs(b / 2) > kExact / 2) {
      return run.Unsupported("a division of integers beyond 53 bits");
    }
    return Value::Float(static_cast<double>(a) / static_cast<double>(b));
  } else {
    return IntegerDivision(run, op, a, b);
  }
  return overflow ? TooLarge(run) : Value::Int(result);
}

Value OfFloats(Run& run, std::string_view op, double a, double b) {
  if (op == "+") return Value::Float(a + b);
  if (op == "-") return Value::Float(a - b);
  if (op == "*") return Value::Float(a * b);
  if (op == "**") {
    const double power = std::pow(a, b);
    if ((a == 0 && b < 0) || (std::isfinite(a) && std::isfinite(b) && !std::isfinite(power))) {
      return run.Wrong("a power that is no finite real number");
    }
    return Value::Float(power);
  }
  if (b == 0) return run.Wrong("a division by zero");
  if (op == "/") return Value::Float(a / b);
  double remainder = std::fmod(a, b);
  double quotient = (a - remainder) / b;
  if (remainder != 0 && (remainder < 0) != (b < 0)) {
    remainder += b;
    quotient -= 1;
  }
  if (remainder == 0) remainder = std::copysign(0.0, b);
  if (op == "%") return Value::Float(remainder);
  double floor = std::floor(quotient);
  if (quotient != 0 && quotient - floor > 0.5) floor += 1;
  return Value::Float(quotient == 0 ? std::copysign(0.0, a / b) : floor);
}

Value Joined(Run& run, const Value& a, const Value& b) {
  const bool markup = a.is_markup() || b.is_markup();
  if (!run.Reserve(a.text().size() + b.text().size())) return {};
  const auto part = [&](const Value& value) {
    return markup && !value.is_markup() ? EscapeMarkup(value.text()) : std::string(value.text());
  };
  return run.MakeText(part(a) + part(b), markup);
}

Value JoinedLists(Run& run, const List& a, const List& b) {
  if (!run.Reserve((a.items.size() + b.items.size()) * sizeof(Value))) return {};
  Items items = a.items;
  items.insert(items.end(), b.items.begin(), b.items.end());
  return run.MakeList(std::move(items), a.kind);
}

Value Repeated(Run& run, const Value& value, std::int64_t times) {
  const std::size_t count = times > 0 ? static_cast<std::size_t>(times) : 0;
  const bool text = value.is(Kind::kText);
  const std::size_t one = text ? value.text().size() : value.list().items.size() * sizeof(Value);
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(one, count, &bytes)) bytes = std::numeric_limits<std::size_t>::max() / 2;
  if (!run.Reserve(bytes)) return {};
  if (text) {
    std::string out;
    for (std::size_t i = 0; i < count && one > 0; ++i) out += value.text();
    return run.MakeText(out, value.is_markup());
  }
  Items items;
  for (std::size_t i = 0; i < count && one > 0; ++i) {
    items.insert(items.end(), value.list().items.begin(), value.list().items.end());
  }
  return run.MakeList(std::move(items), value.list().kind);
}

bool IsSequence(const Value& value) {
  if (value.is(Kind::kText)) return true;
  return value.is(Kind::kList) && (value.list().kind == ListKind::kList || value.list().kind == ListKind::kTuple);
}

}  // namespace

Value Arithmetic(Run& run, std::string_view op, const Value& a, const Value& b) {
  if (!run.Step()) return {};
  if (IsInteger(a) && IsInteger(b)) return OfIntegers(run, op, IntegerOf(a), IntegerOf(b));
  if (IsNumber(a) && IsNumber(b)) return OfFloats(run, op, NumberOf(a), NumberOf(b));
  if (op == "%" && a.is(Kind::kText)) return run.Unsupported("the operator % of a text");
  for (const Value* value : {&a, &b}) {
    if (!value->is(Kind::kUndefined)) continue;
    const auto& message = std::get<Undefined>(value->data).message;
    return run.Wrong(message ? *message : "an undefined value in an expression");
  }
  if (op == "+" && a.is(Kind::kText) && b.is(Kind::kText)) return Joined(run, a, b);
  if (op == "+" && IsSequence(a) && IsSequence(b) && a.is(Kind::kList) && b.is(Kind::kList) &&
      a.list().kind == b.list().kind) {
    return JoinedLists(run, a.list(), b.list());
  }
  if (op == "*" && IsSequence(a) && IsInteger(b)) return Repeated(run, a, IntegerOf(b));
  if (op == "*" && IsInteger(a) && IsSequence(b)) return Repeated(run, b, IntegerOf(a));
  return run.Wrong(fmt::format("{} {} {} has no meaning", TypeName(a), op, TypeName(b)));
}

Value Negate(Run& run, const Value& value) {
  if (value.is(Kind::kFloat)) return Value::Float(-value.as_float());
  if (IsInteger(value)) return Arithmetic(run, "-", Value::Int(0), Value::Int(IntegerOf(value)));
  return Arithmetic(run, "-", Value::Int(0), value);
}

}  // namespace marlin::jinja
