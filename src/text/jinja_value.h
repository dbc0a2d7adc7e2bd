// Values of the Jinja interpreter: Python's, as far as chat templates use them. Texts, lists and dicts never change, so
// copies share them. What can change (namespaces, iterators) and what refers to a run (macros, loops) is owned by the
// run (jinja_run.h) and lives as long as it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace marlin::jinja {

struct Value;
struct List;
struct Dict;
struct Namespace;
struct Iterator;
struct Macro;
struct Loop;
struct Method;
struct Function;

using Items = std::vector<Value>;

// name: what was not there, for messages.
struct Undefined {
  std::shared_ptr<const std::string> message;
};
struct NoneType {};
// markup: went through the filter `safe`; joined with +, other texts are escaped.
struct Text {
  std::shared_ptr<const std::string> bytes;
  bool markup = false;
};

// In the order of Value::Data.
enum class Kind {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kText,
  kList,
  kDict,
  kNamespace,
  kIterator,
  kMacro,
  kLoop,
  kMethod,
  kFunction
};

struct Value {
  using Data = std::variant<Undefined, NoneType, bool, std::int64_t, double, Text, std::shared_ptr<const List>,
                            std::shared_ptr<const Dict>, Namespace*, Iterator*, const Macro*, Loop*,
                            std::shared_ptr<const Method>, const Function*>;
  Data data;

  Value() = default;
  Value(Data of) : data(std::move(of)) {}  // NOLINT: implicit by design

  static Value None() { return Data(NoneType{}); }
  static Value Bool(bool value) { return Data(value); }
  static Value Int(std::int64_t value) { return Data(value); }
  static Value Float(double value) { return Data(value); }

  Kind kind() const { return static_cast<Kind>(data.index()); }
  bool is(Kind kind_wanted) const { return kind() == kind_wanted; }

  bool as_bool() const { return std::get<bool>(data); }
  std::int64_t as_int() const { return std::get<std::int64_t>(data); }
  double as_float() const { return std::get<double>(data); }
  const Text& as_text() const { return std::get<Text>(data); }
  std::string_view text() const { return *as_text().bytes; }
  bool is_markup() const { return is(Kind::kText) && as_text().markup; }
  const List& list() const { return *std::get<std::shared_ptr<const List>>(data); }
  const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(data); }
};

// A view is what a dict's keys(), values() and items() give: it has a length, but no positions.
enum class ListKind { kList, kTuple, kRange, kKeys, kValues, kItems };

struct List {
  ListKind kind = ListKind::kList;
  Items items;
  int depth = 1;  // of lists and dicts in each other

  bool is_view() const { return kind >= ListKind::kKeys; }
};

// In the order of insertion.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  int depth = 1;

  const Value* Find(std::string_view key) const;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
};

// Gives its items once, as a Python generator does.
struct Iterator {
  std::shared_ptr<const List> list;
  std::size_t next = 0;
};

// `x.strip`, not called yet.
struct Method {
  Value self;
  std::string name;
};

// Names and values of a call. The named ones come after the others.
struct Arguments {
  Items positional;
  std::vector<std::pair<std::string, Value>> named;
};

int DepthOf(const Value& value);
// "str", "list", "dict", ...: Python's names.
std::string_view TypeName(const Value& value);
bool IsNumber(const Value& value);  // also true and false
// The number of true and false is 1 and 0. value: IsNumber.
double NumberOf(const Value& value);
// Of kBool and kInt.
std::int64_t IntegerOf(const Value& value);
bool IsInteger(const Value& value);  // also true and false
// bool(value)
bool IsTrue(const Value& value);

}  // namespace marlin::jinja
