// What Python does with values: text, comparison, arithmetic, items, attributes. On failure they fail the run and give
// an empty result.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "text/jinja_run.h"
#include "text/jinja_value.h"

namespace marlin::jinja {

// str(value) and repr(value)
std::string TextOf(Run& run, const Value& value);
std::string ReprOf(Run& run, const Value& value);

// a == b; a < b
bool Equals(Run& run, const Value& a, const Value& b);
bool Less(Run& run, const Value& a, const Value& b);
// op: a comparison of the grammar, with "in" and "not in".
bool Compare(Run& run, std::string_view op, const Value& a, const Value& b);
// op: + - * / // % **
Value Arithmetic(Run& run, std::string_view op, const Value& a, const Value& b);
Value Negate(Run& run, const Value& value);

// The items of what can be iterated over; null after a failure. Uses up an iterator.
std::shared_ptr<const List> IterateOver(Run& run, const Value& value);
// len(value)
std::size_t LengthOf(Run& run, const Value& value);
// Whether Python could hash the key: no list, no dict, no tuple that holds one.
bool CheckHashable(Run& run, const Value& key, std::string_view what);
const Value* FindKey(Run& run, const Dict& dict, const Value& key);
// Adds an entry, or replaces that of the same key.
void SetKey(Run& run, std::vector<std::pair<Value, Value>>& entries, const Value& key, const Value& value);

// object[key], object.name as Jinja reads them: undefined where nothing is found.
Value ItemOf(Run& run, const Value& object, const Value& key);
Value AttributeOf(Run& run, const Value& object, std::string_view name);
// object[begin:end:step]; none = left out.
Value SliceOf(Run& run, const Value& object, const Value& begin, const Value& end, const Value& step);

}  // namespace marlin::jinja
