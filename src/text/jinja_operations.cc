#include "text/jinja_operations.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/jinja_text.h"

namespace marlin::jinja {
namespace {

void AppendRepr(Run& run, const Value& value, std::string& out);

void AppendPlain(Run& run, std::string_view text, std::string& out) {
  if (run.Reserve(text.size())) out += text;
}

void AppendItems(Run& run, const Items& items, std::string_view open, std::string_view close, std::string& out) {
  out += open;
  for (std::size_t i = 0; i < items.size() && !run.failed(); ++i) {
    if (i > 0) out += ", ";
    AppendRepr(run, items[i], out);
  }
  out += close;
}

void AppendList(Run& run, const List& list, std::string& out) {
  switch (list.kind) {
    case ListKind::kList:
      return AppendItems(run, list.items, "[", "]", out);
    case ListKind::kTuple:
      return AppendItems(run, list.items, "(", list.items.size() == 1 ? ",)" : ")", out);
    case ListKind::kKeys:
      return AppendItems(run, list.items, "dict_keys([", "])", out);
    case ListKind::kValues:
      return AppendItems(run, list.items, "dict_values([", "])", out);
    case ListKind::kItems:
      return AppendItems(run, list.items, "dict_items([", "])", out);
    case ListKind::kRange:
      run.Unsupported("a range as a text; make it a list first");
  }
}

void AppendDict(Run& run, const Dict& dict, std::string& out) {
  out += '{';
  for (std::size_t i = 0; i < dict.entries.size() && !run.failed(); ++i) {
    if (i > 0) out += ", ";
    AppendRepr(run, dict.entries[i].first, out);
    out += ": ";
    AppendRepr(run, dict.entries[i].second, out);
  }
  out += '}';
}

// repr of a text is quoted, that of an undefined value says so; otherwise str and repr are the same.
void AppendRepr(Run& run, const Value& value, std::string& out) {
  if (!run.Step()) return;
  switch (value.kind()) {
    case Kind::kUndefined:
      return AppendPlain(run, "Undefined", out);
    case Kind::kNone:
      return AppendPlain(run, "None", out);
    case Kind::kBool:
      return AppendPlain(run, value.as_bool() ? "True" : "False", out);
    case Kind::kInt:
      return AppendPlain(run, std::to_string(value.as_int()), out);
    case Kind::kFloat:
      return AppendPlain(run, FloatAsPython(value.as_float()), out);
    case Kind::kText:
      return AppendPlain(
          run, fmt::format(fmt::runtime(value.is_markup() ? "Markup({})" : "{}"), QuoteAsPython(value.text())), out);
    case Kind::kList:
      return AppendList(run, value.list(), out);
    case Kind::kDict:
      return AppendDict(run, value.dict(), out);
    default:
      run.Unsupported(fmt::format("a {} as a text", TypeName(value)));
  }
}

bool ListsEqual(Run& run, const List& a, const List& b) {
  if (a.is_view() || b.is_view()) {
    run.Unsupported("a comparison of keys, values or items of a dict; make them a list first");
    return false;
  }
  if (a.kind != b.kind || a.items.size() != b.items.size()) return false;
  for (std::size_t i = 0; i < a.items.size() && !run.failed(); ++i) {
    if (!Equals(run, a.items[i], b.items[i])) return false;
  }
  return true;
}

bool DictsEqual(Run& run, const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* other = FindKey(run, b, key);
    if (run.failed() || other == nullptr || !Equals(run, value, *other)) return false;
  }
  return true;
}

bool Contains(Run& run, const Value& container, const Value& item) {
  if (container.is(Kind::kText)) {
    if (!item.is(Kind::kText)) {
      run.Wrong(fmt::format("a text cannot contain a {}", TypeName(item)));
      return false;
    }
    return run.StepSearch(container.text(), item.text()) &&
           container.text().find(item.text()) != std::string_view::npos;
  }
  if (container.is(Kind::kDict)) return FindKey(run, container.dict(), item) != nullptr;
  const auto list = IterateOver(run, container);
  if (!list) return false;
  return std::ranges::any_of(list->items, [&](const Value& each) { return !run.failed() && Equals(run, each, item); });
}

}  // namespace

std::string ReprOf(Run& run, const Value& value) {
  std::string out;
  AppendRepr(run, value, out);
  return out;
}

std::string TextOf(Run& run, const Value& value) {
  if (value.is(Kind::kText)) return std::string(value.text());
  if (value.is(Kind::kUndefined)) return {};
  return ReprOf(run, value);
}

bool CheckHashable(Run& run, const Value& key, std::string_view what) {
  if (!run.Step()) return false;
  if (key.is(Kind::kList) && key.list().kind == ListKind::kTuple) {
    return std::ranges::all_of(key.list().items, [&](const Value& item) { return CheckHashable(run, item, what); });
  }
  if (key.is(Kind::kDict) || (key.is(Kind::kList) && key.list().kind != ListKind::kRange)) {
    run.Wrong(fmt::format("a {} as {}", TypeName(key), what));
    return false;
  }
  return true;
}

bool Equals(Run& run, const Value& a, const Value& b) {
  if (!run.Step()) return false;
  if (IsNumber(a) && IsNumber(b)) {
    return IsInteger(a) && IsInteger(b) ? IntegerOf(a) == IntegerOf(b) : NumberOf(a) == NumberOf(b);
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kText:
      return run.StepBytes(std::min(a.text().size(), b.text().size())) && a.text() == b.text();
    case Kind::kList:
      return ListsEqual(run, a.list(), b.list());
    case Kind::kDict:
      return DictsEqual(run, a.dict(), b.dict());
    case Kind::kNamespace:
      return std::get<Namespace*>(a.data) == std::get<Namespace*>(b.data);
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    default:
      run.Unsupported(fmt::format("a comparison with a {}", TypeName(a)));
      return false;
  }
}

bool Less(Run& run, const Value& a, const Value& b) {
  if (!run.Step()) return false;
  if (IsNumber(a) && IsNumber(b)) {
    return IsInteger(a) && IsInteger(b) ? IntegerOf(a) < IntegerOf(b) : NumberOf(a) < NumberOf(b);
  }
  if (a.is(Kind::kText) && b.is(Kind::kText)) {
    return run.StepBytes(std::min(a.text().size(), b.text().size())) && a.text() < b.text();
  }
  const bool lists = a.is(Kind::kList) && b.is(Kind::kList) && a.list().kind == b.list().kind;
  if (lists && (a.list().kind == ListKind::kList || a.list().kind == ListKind::kTuple)) {
    const Items& left = a.list().items;
    const Items& right = b.list().items;
    for (std::size_t i = 0; i < std::min(left.size(), right.size()) && !run.failed(); ++i) {
      if (!Equals(run, left[i], right[i])) return Less(run, left[i], right[i]);
    }
    return left.size() < right.size();
  }
  for (const Value* value : {&a, &b}) {
    if (!value->is(Kind::kUndefined)) continue;
    const auto& message = std::get<Undefined>(value->data).message;
    run.Wrong(message ? *message : "an undefined value in a comparison");
    return false;
  }
  if (lists && a.list().is_view()) {
    run.Unsupported("a comparison of keys, values or items of a dict; make them a list first");
    return false;
  }
  run.Wrong(fmt::format("a {} and a {} have no order", TypeName(a), TypeName(b)));
  return false;
}

bool Compare(Run& run, std::string_view op, const Value& a, const Value& b) {
  if (op == "==") return Equals(run, a, b);
  if (op == "!=") return !Equals(run, a, b);
  if (op == "in") return Contains(run, b, a);
  if (op == "not in") return !Contains(run, b, a);
  if (op == "<") return Less(run, a, b);
  if (op == ">") return Less(run, b, a);
  const bool nan = IsNumber(a) && IsNumber(b) && NumberOf(a) != NumberOf(a);
  const bool nan_right = IsNumber(a) && IsNumber(b) && NumberOf(b) != NumberOf(b);
  if (nan || nan_right) return false;
  return op == "<=" ? !Less(run, b, a) : !Less(run, a, b);
}

std::shared_ptr<const List> IterateOver(Run& run, const Value& value) {
  if (!run.Step()) return nullptr;
  Items items;
  switch (value.kind()) {
    case Kind::kList:
      return std::get<std::shared_ptr<const List>>(value.data);
    case Kind::kUndefined:
      break;
    case Kind::kDict:
      for (const auto& [key, of] : value.dict().entries) items.push_back(key);
      break;
    case Kind::kText:
      for (const std::string_view point : CodePointsOf(value.text())) {
        items.push_back(run.MakeText(point));
        if (run.failed()) return nullptr;
      }
      break;
    case Kind::kIterator: {
      Iterator& iterator = *std::get<Iterator*>(value.data);
      const Items& all = iterator.list->items;
      const std::size_t begin = std::exchange(iterator.next, all.size());
      if (begin == 0) return iterator.list;
      items.assign(all.begin() + static_cast<std::ptrdiff_t>(begin), all.end());
      break;
    }
    case Kind::kLoop:
      run.Unsupported("iteration over the variable loop");
      return nullptr;
    default:
      run.Wrong(fmt::format("a {} has no items to iterate over", TypeName(value)));
      return nullptr;
  }
  const Value list = run.MakeList(std::move(items));
  return run.failed() ? nullptr : std::get<std::shared_ptr<const List>>(list.data);
}

std::size_t LengthOf(Run& run, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kText:
      return run.StepBytes(value.text().size()) ? CountCodePoints(value.text()) : 0;
    case Kind::kList:
      return value.list().items.size();
    case Kind::kDict:
      return value.dict().entries.size();
    case Kind::kLoop:
      run.Unsupported("the length of the variable loop; use loop.length");
      return 0;
    default:
      run.Wrong(fmt::format("a {} has no length", TypeName(value)));
      return 0;
  }
}

const Value* FindKey(Run& run, const Dict& dict, const Value& key) {
  if (!CheckHashable(run, key, "the key of a dict") || !run.Step(1 + dict.entries.size() / 16)) return nullptr;
  if (key.is(Kind::kText)) return dict.Find(key.text());
  for (const auto& [name, value] : dict.entries) {
    if (Equals(run, name, key)) return &value;
  }
  return nullptr;
}

void SetKey(Run& run, std::vector<std::pair<Value, Value>>& entries, const Value& key, const Value& value) {
  if (!CheckHashable(run, key, "the key of a dict")) return;
  const auto found = std::ranges::find_if(entries, [&](const auto& entry) { return Equals(run, entry.first, key); });
  if (found != entries.end()) {
    found->second = value;
  } else {
    entries.emplace_back(key, value);
  }
}

}  // namespace marlin::jinja
