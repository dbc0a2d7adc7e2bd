// Methods of texts, dicts and lists. Those that would change a list or dict are refused, as transformers does.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "text/jinja_builtins.h"
#include "text/jinja_operations.h"
#include "text/jinja_text.h"

namespace marlin::jinja {
namespace {

using MethodFunction = Value (*)(Run&, const Value& self, std::string_view what, const Arguments&);

struct MethodRow {
  std::string_view name;
  MethodFunction call;
};

constexpr std::array<std::string_view, 1> kChars = {"chars"};
constexpr std::array<std::string_view, 2> kSplitNames = {"sep", "maxsplit"};
constexpr std::array<std::string_view, 3> kReplaceNames = {"old", "new", "count"};
constexpr std::array<std::string_view, 3> kFindNames = {"sub", "start", "end"};
constexpr std::array<std::string_view, 1> kOne = {"value"};
constexpr std::array<std::string_view, 2> kGetNames = {"key", "default"};

template <Side side>
Value StripMethod(Run& run, const Value& self, std::string_view what, const Arguments& arguments) {
  Bound bound(run, arguments, what, kChars, 0);
  std::optional<std::string_view> chars;
  if (bound.has(0) && !bound[0].is(Kind::kNone)) chars = bound.TextOr(0, "");
  if (!run.StepBytes(self.text().size(), chars ? chars->size() : 1)) return {};
  return run.MakeText(Strip(self.text(), chars, side), self.is_markup());
}

Value Texts(Run& run, const std::vector<std::string_view>& pieces, bool markup) {
  Items items;
  for (const std::string_view piece : pieces) {
    if (run.failed()) return {};
    items.push_back(run.MakeText(piece, markup));
  }
  return run.MakeList(std::move(items));
}

Value SplitMethod(Run& run, const Value& self, std::string_view what, const Arguments& arguments) {
  Bound bound(run, arguments, what, kSplitNames, 0);
  std::optional<std::string_view> separator;
  if (bound.has(0) && !bound[0].is(Kind::kNone)) separator = bound.TextOr(0, " ");
  if (separator && separator->empty()) return run.Wrong(fmt::format("{} with an empty separator", what));
  const std::int64_t most = bound.Integer(1, -1);
  if (!run.StepSearch(self.text(), separator.value_or(""))) return {};
  return Texts(run, Split(self.text(), separator, most), self.is_markup());
}

Value SplitFromEndMethod(Run& run, const Value& self, std::string_view what, const Arguments& arguments) {
  Bound bound(run, arguments, what, kSplitNames, 0);
  if (!bound.has(0) || bound[0].is(Kind::kNone)) return run.Unsupported(fmt::format("{} without a separator", what));
  const std::string_view separator = bound.TextOr(0, " ");
  if (separator.empty()) return run.Wrong(fmt::format("{} with an empty separator", what));
  const std::int64_t most = bound.Integer(1, -1);
  if (!run.StepSearch(self.text(), separator)) return {};
  return Texts(run, SplitFromEnd(self.text(), separator, most), self.is_markup());
}

Value SplitLinesMethod(Run& run, const Value& self, std::string_view what, const Arguments& arguments) {
  const Bound bound(run, arguments, what, {}, 0);
  return run.StepBytes(self.text().size(), 16) ? Texts(run, SplitLines(self.text()), self.is_markup()) : Value();
}

template <bool at_start>
Value BeginsOrEnds(Run& run, const Value& self, std::string_view what, const Arguments& arguments) {
  const Bound bound(run, arguments, what, kOne, 1);
  if (run.failed()) return {};
  const auto holds = [&](const Value& piece) {
    if (!piece.is(Kind::kText)) {
      run.Wrong(fmt::format("{} wants a text, got a {}", what, TypeName(piece)));
      return false;
    }
    if (!run.StepBytes(piece.text().size())) return false;
    return at_start ? self.text().starts_with(piece.text()) : self.text().ends_with(piece.text());
  };
  if (bound[0].is(Kind::kList) && bound[0].list().kind == ListKind::kTuple) {
    const Items& items = bound[0].list().items;
    return Value::Bool(std::ranges::any_of(items, [&](const Value& item) { return !run.failed() && holds(item); }));
  }
  return Value::Bool(holds(bound[0]));
}

template <Case to>
Value CaseMethod(Run& run, const Value& self, std::string_view what, const Arguments& arguments) {
  const Bound bound(run, arguments, what, {}, 0);
  if (!run.Reserve(self.text().size() * 2)) return {};
  const auto changed = ChangeCase(self.text(), to);
  return changed ? run.MakeText(*changed, self.is_markup()) : run.Fail(changed.error().code, changed.error().message);
}

Value ReplaceMethod(Run& run, const Value& self, std::string_view what, const Arguments& arguments) {
  Bound bound(run, arguments, what, kReplaceNames, 2);
  const std::string_view from = bound.TextOr(0, "");
  std::string to(bound.TextOr(1, ""));
  const std::int64_t most = bound.Integer(2, -1);
  if (run.failed() || !run.StepSearch(self.text(), from)) return {};
  if (self.is_markup() && !bound[1].is_markup()) to = EscapeMarkup(to);
  if (!run.Reserve(self.text().size() + CountPieces(self.text(), from) * to.size())) return {};
  return run.MakeText(ReplacePieces(self.text(), from, to, most), self.is_markup());
}

// Positions of code points; only the whole text is searched.
Value FindMethod(Run& run, const Value& self, std::string_view what, const Arguments& arguments) {
  Bound bound(run, arguments, what, kFindNames, 1);
  if (bound.has(1) || bound.has(2)) return run.Unsupported(fmt::format("{} with a start or an end", what));
  const std::string_view piece = bound.TextOr(0, "");
  if (run.failed() || !run.StepSearch(self.text(), piece)) return {};
  const std::size_t at =
      what.find("rfind") != std::string_view::npos ? self.text().rfind(piece) : self.text().find(piece);
  if (at == std::string_view::npos) return Value::Int(-1);
  return Value::Int(static_cast<std::int64_t>(CountCodePoints(self.text().substr(0, at))));
}

Value CountMethod(Run& run, const Value& self, std::string_view what, const Arguments& arguments) {
  Bound bound(run, arguments, what, kFindNames, 1);
  if (bound.has(1) || bound.has(2)) return run.Unsupported(fmt::format("{} with a start or an end", what));
  const std::string_view piece = bound.TextOr(0, "");
  if (run.failed() || !run.StepSearch(self.text(), piece)) return {};
  return Value::Int(static_cast<std::int64_t>(CountPieces(self.text(), piece)));
}

Value JoinMethod(Run& run, const Value& self, std::string_view what, const Arguments& arguments) {
  const Bound bound(run, arguments, what, kOne, 1);
  if (run.failed()) return {};
  const auto list = IterateOver(run, bound[0]);
  std::string joined;
  for (std::size_t i = 0; list && i < list->items.size() && !run.failed(); ++i) {
    const Value& item = list->items[i];
    if (!item.is(Kind::kText)) return run.Wrong(fmt::format("{} wants texts, got a {}", what, TypeName(item)));
    if (self.is_markup() || item.is_markup()) return run.Unsupported(fmt::format("{} after the filter safe", what));
    if (!run.Reserve(self.text().size() + item.text().size())) return {};
    if (i > 0) joined += self.text();
    joined += item.text();
  }
  return run.MakeText(joined);
}

template <bool at_start>
Value RemoveMethod(Run& run, const Value& self, std::string_view what, const Arguments& arguments) {
  Bound bound(run, arguments, what, kOne, 1);
  const std::string_view piece = bound.TextOr(0, "");
  std::string_view text = self.text();
  if (run.failed() || !run.StepBytes(piece.size())) return {};
  if (at_start && text.starts_with(piece)) text.remove_prefix(piece.size());
  if (!at_start && text.ends_with(piece)) text.remove_suffix(piece.size());
  return run.MakeText(text, self.is_markup());
}

// The field of str.format that begins at text[at], behind its brace.
std::optional<Value> FormatField(Run& run, std::string_view field, const Arguments& arguments, std::size_t& next) {
  for (const auto& [name, value] : arguments.named) {
    if (name == field) return value;
  }
  std::size_t index = next;
  if (field.empty()) {
    ++next;
  } else if (field.size() <= 3 && std::ranges::all_of(field, [](char c) { return c >= '0' && c <= '9'; })) {
    index = static_cast<std::size_t>(std::stoi(std::string(field)));
  } else {
    run.Unsupported(fmt::format("the field {} of the method format", QuoteAsPython(field)));
    return std::nullopt;
  }
  if (index < arguments.positional.size()) return arguments.positional[index];
  run.Wrong(fmt::format("the method format lacks its argument {}", index));
  return std::nullopt;
}

Value FormatMethod(Run& run, const Value& self, std::string_view, const Arguments& arguments) {
  if (self.is_markup()) return run.Unsupported("the method format after the filter safe");
  const std::string_view text = self.text();
  std::string out;
  std::size_t next = 0;
  for (std::size_t at = 0; at < text.size() && !run.failed(); ++at) {
    const char c = text[at];
    if (c != '{' && c != '}') {
      out += c;
    } else if (at + 1 < text.size() && text[at + 1] == c) {
      out += c;
      ++at;
    } else {
      const std::size_t end = c == '{' ? text.find('}', at) : std::string_view::npos;
      if (end == std::string_view::npos) return run.Wrong("a single brace in the text of the method format");
      const auto value = FormatField(run, text.substr(at + 1, end - at - 1), arguments, next);
      if (!value) return {};
      const std::string piece = TextOf(run, *value);
      if (!run.Reserve(piece.size())) return {};
      out += piece;
      at = end;
    }
  }
  return run.StepBytes(text.size()) ? run.MakeText(out) : Value();
}

template <ListKind kind>
Value ViewMethod(Run& run, const Value& self, std::string_view what, const Arguments& arguments) {
  const Bound bound(run, arguments, what, {}, 0);
  Items items;
  for (const auto& [key, value] : self.dict().entries) {
    if (run.failed()) return {};
    if (kind == ListKind::kItems) {
      items.push_back(run.MakeList({key, value}, ListKind::kTuple));
    } else {
      items.push_back(kind == ListKind::kKeys ? key : value);
    }
  }
  return run.MakeList(std::move(items), kind);
}

Value GetMethod(Run& run, const Value& self, std::string_view what, const Arguments& arguments) {
  if (!arguments.named.empty()) return run.Wrong(fmt::format("{} takes no named arguments", what));
  const Bound bound(run, arguments, what, kGetNames, 1);
  if (run.failed()) return {};
  if (const Value* found = FindKey(run, self.dict(), bound[0])) return *found;
  return bound.has(1) ? bound[1] : Value::None();
}

// index and count of lists.
template <bool counts>
Value SearchMethod(Run& run, const Value& self, std::string_view what, const Arguments& arguments) {
  const Bound bound(run, arguments, what, kOne, 1);
  if (run.failed()) return {};
  std::int64_t count = 0;
  const Items& items = self.list().items;
  for (std::size_t i = 0; i < items.size() && !run.failed(); ++i) {
    if (!Equals(run, items[i], bound[0])) continue;
    if (!counts) return Value::Int(static_cast<std::int64_t>(i));
    ++count;
  }
  return counts ? Value::Int(count) : run.Wrong("the list does not hold the value that the method index seeks");
}

constexpr std::array kTextMethods = {MethodRow{"strip", StripMethod<Side::kBoth>},
                                     MethodRow{"lstrip", StripMethod<Side::kLeft>},
                                     MethodRow{"rstrip", StripMethod<Side::kRight>},
                                     MethodRow{"split", SplitMethod},
                                     MethodRow{"rsplit", SplitFromEndMethod},
                                     MethodRow{"splitlines", SplitLinesMethod},
                                     MethodRow{"startswith", BeginsOrEnds<true>},
                                     MethodRow{"endswith", BeginsOrEnds<false>},
                                     MethodRow{"upper", CaseMethod<Case::kUpper>},
                                     MethodRow{"lower", CaseMethod<Case::kLower>},
                                     MethodRow{"title", CaseMethod<Case::kTitleWords>},
                                     MethodRow{"capitalize", CaseMethod<Case::kCapitalized>},
                                     MethodRow{"replace", ReplaceMethod},
                                     MethodRow{"find", FindMethod},
                                     MethodRow{"rfind", FindMethod},
                                     MethodRow{"count", CountMethod},
                                     MethodRow{"join", JoinMethod},
                                     MethodRow{"removeprefix", RemoveMethod<true>},
                                     MethodRow{"removesuffix", RemoveMethod<false>},
                                     MethodRow{"format", FormatMethod}};
constexpr std::array kDictMethods = {MethodRow{"items", ViewMethod<ListKind::kItems>},
                                     MethodRow{"keys", ViewMethod<ListKind::kKeys>},
                                     MethodRow{"values", ViewMethod<ListKind::kValues>}, MethodRow{"get", GetMethod}};
constexpr std::array kListMethods = {MethodRow{"index", SearchMethod<false>}, MethodRow{"count", SearchMethod<true>}};

// Methods that change their object.
constexpr std::array<std::string_view, 12> kChanging = {"append", "clear",      "extend", "insert",
                                                        "pop",    "popitem",    "remove", "reverse",
                                                        "sort",   "setdefault", "update", "add"};

std::span<const MethodRow> MethodsOf(const Value& self) {
  if (self.is(Kind::kText)) return kTextMethods;
  if (self.is(Kind::kDict)) return kDictMethods;
  if (self.is(Kind::kList) && !self.list().is_view()) return kListMethods;
  return {};
}

}  // namespace

Value CallMethod(Run& run, const Value& self, std::string_view name, const Arguments& arguments) {
  if (!run.Step()) return {};
  const auto methods = MethodsOf(self);
  const auto found = std::ranges::find(methods, name, &MethodRow::name);
  if (found != methods.end()) {
    return found->call(run, self, fmt::format("the method {} of a {}", name, TypeName(self)), arguments);
  }
  if (!self.is(Kind::kText) && std::ranges::find(kChanging, name) != kChanging.end()) {
    return run.Wrong(fmt::format("the method {} would change a {}, which no chat template may", name, TypeName(self)));
  }
  return run.Unsupported(fmt::format("the method {} of a {} is not supported", name, TypeName(self)));
}

}  // namespace marlin::jinja
