// The filters of Jinja that take what can be iterated over.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "text/jinja_builtins.h"
#include "text/jinja_operations.h"
#include "text/jinja_text.h"

namespace marlin::jinja {
namespace {

constexpr std::array<std::string_view, 2> kJoinArguments = {"d", "attribute"};
constexpr std::array<std::string_view, 3> kDictSortArguments = {"case_sensitive", "by", "reverse"};
constexpr std::array<std::string_view, 2> kAttributeArguments = {"attribute", "default"};
constexpr std::array<std::string_view, 3> kSortArguments = {"reverse", "case_sensitive", "attribute"};
constexpr std::array<std::string_view, 2> kUniqueArguments = {"case_sensitive", "attribute"};
constexpr std::array<std::string_view, 2> kSumArguments = {"attribute", "start"};

// item.a.0.b for the path "a.0.b" or a number.
Value AttributePath(Run& run, Value item, const Value& path) {
  if (!path.is(Kind::kText)) return ItemOf(run, item, path);
  for (const std::string_view part : Split(path.text(), ".", -1)) {
    if (run.failed()) return {};
    const bool number =
        !part.empty() && part.size() < 10 && std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
    item = ItemOf(run, item, number ? Value::Int(std::stol(std::string(part))) : run.MakeText(part));
  }
  return item;
}

// What is compared: an attribute of the item, in small letters where capitals do not count.
Value KeyOf(Run& run, const Value& item, const std::optional<Value>& attribute, bool case_sensitive) {
  Value key = attribute ? AttributePath(run, item, *attribute) : item;
  if (!case_sensitive && key.is(Kind::kText) && !run.failed()) return CallMethod(run, key, "lower", {});
  return key;
}

std::optional<Value> Given(const Bound& bound, std::size_t i) {
  return bound.has(i) && !bound[i].is(Kind::kNone) ? std::optional(bound[i]) : std::nullopt;
}

// The items in the order of their keys; equal ones keep their order.
Items SortedBy(Run& run, const Items& items, const std::optional<Value>& attribute, bool case_sensitive, bool reverse) {
  std::vector<std::pair<Value, const Value*>> keyed;
  for (const Value& item : items) {
    if (run.failed()) return {};
    keyed.emplace_back(KeyOf(run, item, attribute, case_sensitive), &item);
  }
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    if (a.first.is(Kind::kUndefined) && b.first.is(Kind::kUndefined)) return false;  // Python finds them equal first
    return reverse ? Less(run, b.first, a.first) : Less(run, a.first, b.first);
  });
  Items sorted;
  for (const auto& [key, item] : keyed) sorted.push_back(*item);
  return sorted;
}

Value Join(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(run, arguments, "the filter join", kJoinArguments, 0);
  const std::string between = bound.has(0) ? TextOf(run, bound[0]) : "";
  const auto attribute = Given(bound, 1);
  const auto list = IterateOver(run, input);
  std::string joined;
  for (std::size_t i = 0; list && i < list->items.size() && !run.failed(); ++i) {
    const Value& item = list->items[i];
    const std::string text = TextOf(run, attribute ? AttributePath(run, item, *attribute) : item);
    if (!run.Reserve(between.size() + text.size())) return {};
    if (i > 0) joined += between;
    joined += text;
  }
  return run.MakeText(joined);
}

Value First(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(run, arguments, "the filter first", {}, 0);
  if (input.is(Kind::kIterator)) {
    Iterator& iterator = *std::get<Iterator*>(input.data);
    if (iterator.next < iterator.list->items.size()) return iterator.list->items[iterator.next++];
  }
  const auto list = IterateOver(run, input);
  if (!list) return {};
  return list->items.empty() ? run.MakeUndefined("the list has no first item") : list->items.front();
}

Value Last(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(run, arguments, "the filter last", {}, 0);
  if (input.is(Kind::kIterator)) return run.Wrong("the filter last wants a list, got a generator");
  const auto list = IterateOver(run, input);
  if (!list) return {};
  return list->items.empty() ? run.MakeUndefined("the list has no last item") : list->items.back();
}

Value Pairs(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(run, arguments, "the filter items", {}, 0);
  if (input.is(Kind::kUndefined)) return run.MakeIterator({});
  if (!input.is(Kind::kDict)) return run.Wrong(fmt::format("the filter items wants a dict, got a {}", TypeName(input)));
  Items pairs;
  for (const auto& [key, value] : input.dict().entries) pairs.push_back(run.MakeList({key, value}, ListKind::kTuple));
  return run.MakeIterator(std::move(pairs));
}

Value DictSort(Run& run, const Value& input, const Arguments& arguments) {
  Bound bound(run, arguments, "the filter dictsort", kDictSortArguments, 0);
  const std::string_view by = bound.TextOr(1, "key");
  if (by != "key" && by != "value") return run.Wrong("the filter dictsort sorts by key or value");
  if (input.is(Kind::kUndefined)) {
    const auto& message = std::get<Undefined>(input.data).message;
    return run.Wrong(message ? *message : "the value is undefined");
  }
  if (!input.is(Kind::kDict))
    return run.Wrong(fmt::format("the filter dictsort wants a dict, got a {}", TypeName(input)));
  Items pairs;
  for (const auto& [key, value] : input.dict().entries) pairs.push_back(run.MakeList({key, value}, ListKind::kTuple));
  if (run.failed()) return {};
  return run.MakeList(
      SortedBy(run, pairs, Value::Int(by == "key" ? 0 : 1), bound.Flag(0, false), bound.Flag(2, false)));
}

Value ToList(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(run, arguments, "the filter list", {}, 0);
  const auto list = IterateOver(run, input);
  return list ? run.MakeList(list->items) : Value();
}

Value Map(Run& run, const Value& input, const Arguments& arguments) {
  const bool by_attribute = arguments.positional.empty();
  const Bound bound(run, by_attribute ? arguments : Arguments(), "the filter map", kAttributeArguments,
                    by_attribute ? 1 : 0);
  Arguments rest = arguments;
  if (!by_attribute) rest.positional.erase(rest.positional.begin());
  if (!by_attribute && !arguments.positional[0].is(Kind::kText))
    return run.Wrong("the filter map wants a filter's name");
  if (run.failed()) return {};
  if (!IsTrue(input)) return run.MakeIterator({});
  const auto list = IterateOver(run, input);
  Items mapped;
  for (std::size_t i = 0; list && i < list->items.size() && !run.failed(); ++i) {
    const Value& item = list->items[i];
    if (!by_attribute) {
      mapped.push_back(ApplyFilter(run, arguments.positional[0].text(), item, rest));
      continue;
    }
    Value value = AttributePath(run, item, bound[0]);
    mapped.push_back(value.is(Kind::kUndefined) && Given(bound, 1) ? bound[1] : value);
  }
  return run.MakeIterator(std::move(mapped));
}

// select, reject, and with an attribute selectattr, rejectattr.
template <bool by_attribute, bool keeps>
Value Select(Run& run, const Value& input, const Arguments& arguments) {
  std::size_t used = 0;
  const auto next = [&]() -> std::optional<Value> {
    return used < arguments.positional.size() ? std::optional(arguments.positional[used++]) : std::nullopt;
  };
  std::optional<Value> attribute;
  if (by_attribute) {
    attribute = next();
    if (!attribute) return run.Wrong("the filters selectattr and rejectattr want the name of an attribute");
  }
  const std::optional<Value> test = next();
  if (test && !test->is(Kind::kText)) return run.Wrong("the filter wants the name of a test");
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin(), rest.positional.begin() + static_cast<std::ptrdiff_t>(used));
  if (!IsTrue(input)) return run.MakeIterator({});
  const auto list = IterateOver(run, input);
  Items selected;
  for (std::size_t i = 0; list && i < list->items.size() && !run.failed(); ++i) {
    const Value& item = list->items[i];
    const Value value = attribute ? AttributePath(run, item, *attribute) : item;
    if ((test ? ApplyTest(run, test->text(), value, rest) : IsTrue(value)) == keeps) selected.push_back(item);
  }
  return run.MakeIterator(std::move(selected));
}

Value Unique(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(run, arguments, "the filter unique", kUniqueArguments, 0);
  const auto list = IterateOver(run, input);
  Items unique, seen;
  for (std::size_t i = 0; list && i < list->items.size() && !run.failed(); ++i) {
    Value key = KeyOf(run, list->items[i], Given(bound, 1), bound.Flag(0, false));
    if (!CheckHashable(run, key, "an item of the filter unique")) return {};
    if (std::ranges::any_of(seen, [&](const Value& other) { return Equals(run, other, key); })) continue;
    unique.push_back(list->items[i]);
    seen.push_back(std::move(key));
  }
  return run.MakeIterator(std::move(unique));
}

Value Sort(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(run, arguments, "the filter sort", kSortArguments, 0);
  const auto attribute = Given(bound, 2);
  if (attribute && attribute->is(Kind::kText) && attribute->text().find(',') != std::string_view::npos) {
    return run.Unsupported("the filter sort by several attributes");
  }
  const auto list = IterateOver(run, input);
  if (!list) return {};
  return run.MakeList(SortedBy(run, list->items, attribute, bound.Flag(1, false), bound.Flag(0, false)));
}

template <bool smallest>
Value Extreme(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(run, arguments, "the filters min and max", kUniqueArguments, 0);
  const auto list = IterateOver(run, input);
  if (!list) return {};
  if (list->items.empty()) return run.MakeUndefined("an empty list has no smallest and no largest item");
  const Value* best = nullptr;
  Value best_key;
  for (const Value& item : list->items) {
    if (run.failed()) return {};
    const Value key = KeyOf(run, item, Given(bound, 1), bound.Flag(0, false));
    if (best != nullptr && !(smallest ? Less(run, key, best_key) : Less(run, best_key, key))) continue;
    best = &item;
    best_key = key;
  }
  return *best;
}

Value Sum(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(run, arguments, "the filter sum", kSumArguments, 0);
  const auto attribute = Given(bound, 0);
  Value sum = bound.has(1) ? bound[1] : Value::Int(0);
  if (sum.is(Kind::kText)) return run.Wrong("the filter sum adds no texts; use join");
  const auto list = IterateOver(run, input);
  for (std::size_t i = 0; list && i < list->items.size() && !run.failed(); ++i) {
    const Value& item = list->items[i];
    sum = Arithmetic(run, "+", sum, attribute ? AttributePath(run, item, *attribute) : item);
  }
  return sum;
}

Value Reverse(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(run, arguments, "the filter reverse", {}, 0);
  if (input.is(Kind::kText)) return SliceOf(run, input, Value::None(), Value::None(), Value::Int(-1));
  const auto list = IterateOver(run, input);
  if (!list || !run.Reserve(list->items.size() * sizeof(Value))) return {};
  return run.MakeIterator(Items(list->items.rbegin(), list->items.rend()));
}

struct ListFilterRow {
  std::string_view name;
  FilterFunction apply;
};

constexpr std::array kListFilters = {ListFilterRow{"join", Join},
                                     ListFilterRow{"first", First},
                                     ListFilterRow{"last", Last},
                                     ListFilterRow{"items", Pairs},
                                     ListFilterRow{"dictsort", DictSort},
                                     ListFilterRow{"list", ToList},
                                     ListFilterRow{"map", Map},
                                     ListFilterRow{"select", Select<false, true>},
                                     ListFilterRow{"reject", Select<false, false>},
                                     ListFilterRow{"selectattr", Select<true, true>},
                                     ListFilterRow{"rejectattr", Select<true, false>},
                                     ListFilterRow{"unique", Unique},
                                     ListFilterRow{"sort", Sort},
                                     ListFilterRow{"min", Extreme<true>},
                                     ListFilterRow{"max", Extreme<false>},
                                     ListFilterRow{"sum", Sum},
                                     ListFilterRow{"reverse", Reverse}};

}  // namespace

FilterFunction FindListFilter(std::string_view name) {
  const auto found = std::ranges::find(kListFilters, name, &ListFilterRow::name);
  return found == kListFilters.end() ? nullptr : found->apply;
}

}  // namespace marlin::jinja
