// The filters of Jinja that take one value; those of lists are in jinja_list_filters.cc.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <system_error>

#include "text/jinja_builtins.h"
#include "text/jinja_operations.h"
#include "text/jinja_text.h"

namespace marlin::jinja {
namespace {

using Names = std::span<const std::string_view>;
constexpr std::array<std::string_view, 1> kCharsOnly = {"chars"};
constexpr std::array<std::string_view, 3> kReplaceArguments = {"old", "new", "count"};
constexpr std::array<std::string_view, 2> kDefaultArguments = {"default_value", "boolean"};
constexpr std::array<std::string_view, 2> kIntArguments = {"default", "base"};
constexpr std::array<std::string_view, 2> kRoundArguments = {"precision", "method"};
constexpr std::array<std::string_view, 3> kIndentArguments = {"width", "first", "blank"};

// A value as a text; a text from `safe` stays one.
Value Soft(Run& run, const Value& value) { return value.is(Kind::kText) ? value : run.MakeText(TextOf(run, value)); }

Value Trim(Run& run, const Value& input, const Arguments& arguments) {
  Bound bound(run, arguments, "the filter trim", kCharsOnly, 0);
  const Value text = Soft(run, input);
  if (run.failed()) return {};
  return CallMethod(run, text, "strip", bound.has(0) ? Arguments{{bound[0]}, {}} : Arguments());
}

Value Length(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(run, arguments, "the filter length", {}, 0);
  return Value::Int(static_cast<std::int64_t>(LengthOf(run, input)));
}

template <Case to>
Value ChangedCase(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(run, arguments, "the filter", {}, 0);
  const Value text = Soft(run, input);
  if (run.failed() || !run.Reserve(text.text().size() * 2)) return {};
  const auto changed = ChangeCase(text.text(), to);
  return changed ? run.MakeText(*changed, text.is_markup()) : run.Fail(changed.error().code, changed.error().message);
}

// Words begin behind spaces, hyphens and opening brackets, unlike those of the method.
Value Title(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(run, arguments, "the filter title", {}, 0);
  const std::string text = TextOf(run, input);
  if (!run.Reserve(text.size() * 2)) return {};
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    const auto separates = [&](std::string_view point) {
      return std::string_view("-({[<").find(point) != std::string_view::npos ||
             Strip(point, std::nullopt, Side::kBoth).empty();
    };
    const auto point_at = [&](std::size_t from) {
      return std::string_view(text).substr(from, ByteOffset(std::string_view(text).substr(from, 8), 1));
    };
    while (end < text.size() && separates(point_at(end))) end += point_at(end).size();
    out += text.substr(at, end - at);
    at = end;
    while (end < text.size() && !separates(point_at(end))) end += point_at(end).size();
    const std::string_view word = std::string_view(text).substr(at, end - at);
    if (word.empty()) continue;
    const std::size_t first = point_at(at).size();
    const auto upper = ChangeCase(word.substr(0, first), Case::kUpper);
    const auto lower = ChangeCase(word.substr(first), Case::kLower);
    if (!upper || !lower) return run.Unsupported(upper ? lower.error().message : upper.error().message);
    out += *upper + *lower;
    at = end;
  }
  return run.MakeText(out);
}

Value Replace(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(run, arguments, "the filter replace", kReplaceArguments, 2);
  if (run.failed()) return {};
  Arguments plain;
  for (std::size_t i = 0; i < 2; ++i) plain.positional.push_back(run.MakeText(TextOf(run, bound[i])));
  if (bound.has(2) && !bound[2].is(Kind::kNone)) plain.positional.push_back(bound[2]);
  const Value text = run.MakeText(TextOf(run, input));
  return run.failed() ? Value() : CallMethod(run, text, "replace", plain);
}

Value Default(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(run, arguments, "the filter default", kDefaultArguments, 0);
  const bool replaces = input.is(Kind::kUndefined) || (bound.Flag(1, false) && !IsTrue(input));
  if (!replaces) return input;
  return bound.has(0) ? bound[0] : run.MakeText("");
}

Value String(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(run, arguments, "the filter string", {}, 0);
  return Soft(run, input);
}

Value Safe(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(run, arguments, "the filter safe", {}, 0);
  return run.MakeText(TextOf(run, input), true);
}

// Digits as Python reads them: signs, spaces around, single underscores between digits.
std::string Digits(std::string_view text) {
  std::string digits(Strip(text, std::nullopt, Side::kBoth));
  for (std::size_t i = 1; i + 1 < digits.size(); ++i) {
    const auto is_digit = [&](std::size_t at) { return digits[at] >= '0' && digits[at] <= '9'; };
    if (digits[i] == '_' && is_digit(i - 1) && is_digit(i + 1)) digits.erase(i, 1);
  }
  if (digits.starts_with('+') && !digits.starts_with("+-")) digits.erase(0, 1);
  return digits;
}

std::optional<double> ReadFloat(std::string_view text) {
  const std::string digits = Digits(text);
  double number = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  const bool whole = !digits.empty() && parsed.ptr == digits.data() + digits.size();
  const bool brackets = digits.find('(') != std::string::npos;  // nan(...), which Python does not know
  return whole && parsed.ec == std::errc() && !brackets ? std::optional(number) : std::nullopt;
}

// The whole part of a number, as int() gives it.
std::optional<Value> Truncated(Run& run, double number) {
  if (!std::isfinite(number)) return std::nullopt;
  if (std::abs(number) >= 0x1p63) return run.Unsupported("an integer beyond 64 bits");
  return Value::Int(static_cast<std::int64_t>(number));
}

Value FailOfUndefined(Run& run, const Value& input) {
  const auto& message = std::get<Undefined>(input.data).message;
  return run.Wrong(message ? *message : "the value is undefined");
}

Value ToInteger(Run& run, const Value& input, const Arguments& arguments) {
  Bound bound(run, arguments, "the filter int", kIntArguments, 0);
  if (bound.Integer(1, 10) != 10) return run.Unsupported("the filter int with a base other than 10");
  if (input.is(Kind::kUndefined)) return FailOfUndefined(run, input);
  std::optional<Value> result;
  if (IsInteger(input)) result = Value::Int(IntegerOf(input));
  if (input.is(Kind::kFloat)) result = Truncated(run, input.as_float());
  if (input.is(Kind::kText)) {
    const std::string digits = Digits(input.text());
    std::int64_t number = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (parsed.ec == std::errc::result_out_of_range) return run.Unsupported("an integer beyond 64 bits");
    if (parsed.ec == std::errc() && parsed.ptr == digits.data() + digits.size()) {
      result = Value::Int(number);
    } else if (const auto real = ReadFloat(input.text())) {
      result = Truncated(run, *real);
    }
  }
  if (result) return *result;
  return bound.has(0) ? bound[0] : Value::Int(0);
}

Value ToFloat(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(run, arguments, "the filter float", std::span(kIntArguments).first(1), 0);
  if (input.is(Kind::kUndefined)) return FailOfUndefined(run, input);
  if (IsNumber(input)) return Value::Float(NumberOf(input));
  if (input.is(Kind::kText)) {
    if (const auto number = ReadFloat(input.text())) return Value::Float(*number);
  }
  return bound.has(0) ? bound[0] : Value::Float(0);
}

Value Absolute(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(run, arguments, "the filter abs", {}, 0);
  if (input.is(Kind::kUndefined)) return FailOfUndefined(run, input);
  if (!IsNumber(input)) return run.Wrong(fmt::format("the filter abs wants a number, got a {}", TypeName(input)));
  if (input.is(Kind::kFloat)) return Value::Float(std::abs(input.as_float()));
  return IntegerOf(input) < 0 ? Negate(run, input) : Value::Int(IntegerOf(input));
}

// round(number, digits) of Python: to the nearest decimal, exact, and to even when there are two.
double RoundedTo(double number, std::int64_t digits) {
  std::array<char, 400> buffer;
  const auto written =
      std::to_chars(buffer.begin(), buffer.end(), number, std::chars_format::fixed, static_cast<int>(digits));
  double rounded = number;
  std::from_chars(buffer.begin(), written.ptr, rounded);
  return rounded;
}

Value Round(Run& run, const Value& input, const Arguments& arguments) {
  Bound bound(run, arguments, "the filter round", kRoundArguments, 0);
  const std::int64_t precision = bound.Integer(0, 0);
  const std::string_view method = bound.TextOr(1, "common");
  if (input.is(Kind::kUndefined)) return FailOfUndefined(run, input);
  if (!IsNumber(input)) return run.Wrong(fmt::format("the filter round wants a number, got a {}", TypeName(input)));
  if (precision < 0 || precision > 15) return run.Unsupported("the filter round to other than 0 to 15 digits");
  if (method == "common" && IsInteger(input)) return Value::Int(IntegerOf(input));
  const double number = NumberOf(input);
  if (!std::isfinite(number)) return input;
  if (method == "common") return Value::Float(RoundedTo(number, precision));
  if (method != "ceil" && method != "floor") return run.Wrong("the filter round knows common, ceil and floor");
  const double power = std::pow(10.0, static_cast<double>(precision));
  const double scaled = method == "ceil" ? std::ceil(number * power) : std::floor(number * power);
  return Value::Float(scaled / power);
}

Value Indent(Run& run, const Value& input, const Arguments& arguments) {
  Bound bound(run, arguments, "the filter indent", kIndentArguments, 0);
  std::string indent;
  if (bound.has(0) && bound[0].is(Kind::kText)) {
    indent = bound[0].text();
  } else {
    const std::int64_t width = bound.Integer(0, 4);
    if (width > 1000) return run.Unsupported("the filter indent with a width beyond 1000");
    indent.assign(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' ');
  }
  if (!input.is(Kind::kText))
    return run.Wrong(fmt::format("the filter indent wants a text, got a {}", TypeName(input)));
  const std::string text = std::string(input.text()) + "\n";
  const auto lines = SplitLines(text);
  if (!run.Reserve(text.size() + lines.size() * (indent.size() + 1))) return {};
  std::string out = bound.Flag(1, false) ? indent : "";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) {
      out += '\n';
      if (bound.Flag(2, false) || !lines[i].empty()) out += indent;
    }
    out += lines[i];
  }
  return run.MakeText(out, input.is_markup());
}

struct FilterRow {
  std::string_view name;
  FilterFunction apply;
};

constexpr std::array kFilters = {FilterRow{"trim", Trim},
                                 FilterRow{"length", Length},
                                 FilterRow{"count", Length},
                                 FilterRow{"upper", ChangedCase<Case::kUpper>},
                                 FilterRow{"lower", ChangedCase<Case::kLower>},
                                 FilterRow{"capitalize", ChangedCase<Case::kCapitalized>},
                                 FilterRow{"title", Title},
                                 FilterRow{"replace", Replace},
                                 FilterRow{"tojson", ToJson},
                                 FilterRow{"default", Default},
                                 FilterRow{"d", Default},
                                 FilterRow{"string", String},
                                 FilterRow{"safe", Safe},
                                 FilterRow{"int", ToInteger},
                                 FilterRow{"float", ToFloat},
                                 FilterRow{"abs", Absolute},
                                 FilterRow{"round", Round},
                                 FilterRow{"indent", Indent}};

}  // namespace

Value ApplyFilter(Run& run, std::string_view name, const Value& input, const Arguments& arguments) {
  if (!run.Step()) return {};
  const auto found = std::ranges::find(kFilters, name, &FilterRow::name);
  const FilterFunction apply = found != kFilters.end() ? found->apply : FindListFilter(name);
  if (apply == nullptr) return run.Unsupported(fmt::format("the filter {} is not supported", name));
  Value result = apply(run, input, arguments);
  return run.failed() ? Value() : result;
}

}  // namespace marlin::jinja
