// Items, slices and attributes of values, as Jinja looks them up: what is not found is undefined.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "text/jinja_operations.h"
#include "text/jinja_text.h"

namespace marlin::jinja {
namespace {

// The names of Python's methods: an attribute of one of these names is never an item.
constexpr std::array<std::string_view, 47> kTextNames = {
    "capitalize",   "casefold",   "center",    "count",       "encode",    "endswith",     "expandtabs",   "find",
    "format",       "format_map", "index",     "isalnum",     "isalpha",   "isascii",      "isdecimal",    "isdigit",
    "isidentifier", "islower",    "isnumeric", "isprintable", "isspace",   "istitle",      "isupper",      "join",
    "ljust",        "lower",      "lstrip",    "maketrans",   "partition", "removeprefix", "removesuffix", "replace",
    "rfind",        "rindex",     "rjust",     "rpartition",  "rsplit",    "rstrip",       "split",        "splitlines",
    "startswith",   "strip",      "swapcase",  "title",       "translate", "upper",        "zfill"};
constexpr std::array<std::string_view, 11> kDictNames = {"clear", "copy",    "fromkeys",   "get",    "items", "keys",
                                                         "pop",   "popitem", "setdefault", "update", "values"};
constexpr std::array<std::string_view, 11> kListNames = {"append", "clear", "copy",   "count",   "extend", "index",
                                                         "insert", "pop",   "remove", "reverse", "sort"};
constexpr std::array<std::string_view, 7> kTupleNames = {"count", "index",      "start",  "stop",
                                                         "step",  "isdisjoint", "mapping"};
constexpr std::array<std::string_view, 13> kNumberNames = {
    "as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator", "from_bytes", "fromhex", "hex", "imag",
    "is_integer",       "numerator", "real",       "to_bytes"};
constexpr std::array<std::string_view, 7> kMacroNames = {"name",   "arguments",       "catch_kwargs", "catch_varargs",
                                                         "caller", "explicit_caller", "mro"};

std::span<const std::string_view> NamesOf(const Value& object) {
  switch (object.kind()) {
    case Kind::kText:
      return kTextNames;
    case Kind::kDict:
      return kDictNames;
    case Kind::kList:
      return object.list().kind == ListKind::kList ? std::span<const std::string_view>(kListNames) : kTupleNames;
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      return kNumberNames;
    case Kind::kMacro:
      return kMacroNames;
    default:
      return {};
  }
}

// "'dict' has no attribute 'x'"
Value NotFound(Run& run, const Value& object, const Value& key) {
  if (key.is(Kind::kText)) {
    return run.MakeUndefined(fmt::format("{} has no attribute {}", TypeName(object), QuoteAsPython(key.text())));
  }
  return run.MakeUndefined(fmt::format("{} has no element {}", TypeName(object),
                                       IsInteger(key) ? std::to_string(IntegerOf(key)) : TypeName(key)));
}

Value FailUndefined(Run& run, const Value& object) {
  const auto& message = std::get<Undefined>(object.data).message;
  return run.Wrong(message ? *message : "the value is undefined");
}

// Position of Python's index in `size` items; nothing when it lies outside.
std::optional<std::size_t> Position(std::int64_t index, std::size_t size) {
  const auto length = static_cast<std::int64_t>(size);
  if (index < 0) index += length;
  return index >= 0 && index < length ? std::optional(static_cast<std::size_t>(index)) : std::nullopt;
}

std::string_view PointAt(std::string_view text, std::size_t index) {
  const std::size_t begin = ByteOffset(text, index);
  return text.substr(begin, ByteOffset(text.substr(begin), 1));
}

// The item itself, without a search for attributes.
std::optional<Value> FindItem(Run& run, const Value& object, const Value& key) {
  if (object.is(Kind::kDict)) {
    const bool unhashable = key.is(Kind::kDict) || (key.is(Kind::kList) && key.list().kind == ListKind::kList);
    const Value* found = unhashable ? nullptr : FindKey(run, object.dict(), key);
    return found == nullptr ? std::nullopt : std::optional(*found);
  }
  if (!IsInteger(key)) return std::nullopt;
  if (object.is(Kind::kText)) {
    if (!run.StepBytes(object.text().size(), 4)) return std::nullopt;
    const auto at = Position(IntegerOf(key), CountCodePoints(object.text()));
    if (!at) return std::nullopt;
    return run.MakeText(PointAt(object.text(), *at), object.is_markup());
  }
  if (object.is(Kind::kList) && !object.list().is_view()) {
    const auto at = Position(IntegerOf(key), object.list().items.size());
    return at ? std::optional(object.list().items[*at]) : std::nullopt;
  }
  return std::nullopt;
}

// Python's slice.indices.
struct Range {
  std::int64_t begin, end, step;
};

std::optional<Range> RangeOf(Run& run, const Value& begin, const Value& end, const Value& step, std::size_t size) {
  for (const Value* value : {&begin, &end, &step}) {
    if (value->is(Kind::kNone) || IsInteger(*value)) continue;
    run.Wrong(fmt::format("a slice wants integers, got a {}", TypeName(*value)));
    return std::nullopt;
  }
  const auto length = static_cast<std::int64_t>(size);
  Range range{0, 0, step.is(Kind::kNone) ? 1 : IntegerOf(step)};
  if (range.step == 0) {
    run.Wrong("a slice with the step 0");
    return std::nullopt;
  }
  // A step beyond the length takes one item, as the length does.
  range.step = std::clamp(range.step, -length - 1, length + 1);
  const bool back = range.step < 0;
  const auto bound = [&](const Value& value, std::int64_t otherwise) {
    if (value.is(Kind::kNone)) return otherwise;
    std::int64_t at = IntegerOf(value);
    if (at < 0) at = std::max(at + length, std::int64_t{back ? -1 : 0});
    return std::min(at, back ? length - 1 : length);
  };
  range.begin = bound(begin, back ? length - 1 : 0);
  range.end = bound(end, back ? -1 : length);
  return range;
}

Value LoopAttribute(Run& run, Loop& loop, std::string_view name) {
  const auto index = static_cast<std::int64_t>(loop.index0);
  const auto length = [&] { return static_cast<std::int64_t>(loop.Length()); };
  if (name == "index") return Value::Int(index + 1);
  if (name == "index0") return Value::Int(index);
  if (name == "first") return Value::Bool(index == 0);
  if (name == "last") return Value::Bool(!loop.HasNext());
  if (name == "length") return Value::Int(length());
  if (name == "revindex") return Value::Int(length() - index);
  if (name == "revindex0") return Value::Int(length() - index - 1);
  if (name == "depth") return Value::Int(1);
  if (name == "depth0") return Value::Int(0);
  if (name == "previtem") return index > 0 ? loop.previous : run.MakeUndefined("there is no previous item");
  if (name == "nextitem") return loop.HasNext() ? loop.ahead.front() : run.MakeUndefined("there is no next item");
  if (name == "cycle" || name == "changed") return run.Unsupported(fmt::format("loop.{} is not supported", name));
  return run.MakeUndefined(fmt::format("the variable loop has no attribute {}", QuoteAsPython(name)));
}

}  // namespace

Value AttributeOf(Run& run, const Value& object, std::string_view name) {
  if (!run.Step()) return {};
  if (object.is(Kind::kUndefined)) return FailUndefined(run, object);
  if (object.is(Kind::kLoop)) return LoopAttribute(run, *std::get<Loop*>(object.data), name);
  if (object.is(Kind::kNamespace)) {
    for (const auto& [attribute, value] : std::get<Namespace*>(object.data)->attributes) {
      if (attribute == name) return value;
    }
  }
  const auto names = NamesOf(object);
  if (std::ranges::find(names, name) != names.end()) return run.MakeMethod(object, name);
  if (object.is(Kind::kDict)) {
    if (const Value* found = object.dict().Find(name)) return *found;
  }
  if (name.starts_with("__")) return run.Unsupported(fmt::format("the attribute {}", name));
  return run.MakeUndefined(fmt::format("{} has no attribute {}", TypeName(object), QuoteAsPython(name)));
}

Value ItemOf(Run& run, const Value& object, const Value& key) {
  if (!run.Step()) return {};
  if (object.is(Kind::kUndefined)) return FailUndefined(run, object);
  if (auto item = FindItem(run, object, key)) return *item;
  if (run.failed()) return {};
  return key.is(Kind::kText) ? AttributeOf(run, object, key.text()) : NotFound(run, object, key);
}

Value SliceOf(Run& run, const Value& object, const Value& begin, const Value& end, const Value& step) {
  if (!run.Step()) return {};
  if (object.is(Kind::kUndefined)) return FailUndefined(run, object);
  const bool text = object.is(Kind::kText);
  if (!text && (!object.is(Kind::kList) || object.list().is_view())) {
    return run.Wrong(fmt::format("a {} has no slices", TypeName(object)));
  }
  if (text && !run.StepBytes(object.text().size(), 4)) return {};
  const std::size_t size = text ? CountCodePoints(object.text()) : object.list().items.size();
  const auto range = RangeOf(run, begin, end, step, size);
  if (!range) return {};
  if (text && range->step == 1) {
    const std::size_t first = ByteOffset(object.text(), static_cast<std::size_t>(range->begin));
    const std::size_t last = ByteOffset(object.text(), static_cast<std::size_t>(std::max(range->begin, range->end)));
    return run.MakeText(object.text().substr(first, last - first), object.is_markup());
  }
  if (!run.Reserve(size * sizeof(Value))) return {};
  Items items;
  std::string points;
  const auto all = text ? CodePointsOf(object.text()) : std::vector<std::string_view>();
  for (std::int64_t at = range->begin; range->step > 0 ? at < range->end : at > range->end; at += range->step) {
    const auto position = static_cast<std::size_t>(at);
    if (text) {
      points += all[position];
    } else {
      items.push_back(object.list().items[position]);
    }
  }
  return text ? run.MakeText(points, object.is_markup()) : run.MakeList(std::move(items), object.list().kind);
}

}  // namespace marlin::jinja
