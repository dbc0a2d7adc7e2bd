#include "text/jinja_value.h"

#include <algorithm>

namespace marlin::jinja {

const Value* Dict::Find(std::string_view key) const {
  const auto found = std::ranges::find_if(
      entries, [&](const auto& entry) { return entry.first.is(Kind::kText) && entry.first.text() == key; });
  return found == entries.end() ? nullptr : &found->second;
}

int DepthOf(const Value& value) {
  if (value.is(Kind::kList)) return value.list().depth;
  if (value.is(Kind::kDict)) return value.dict().depth;
  if (value.is(Kind::kMethod)) return DepthOf(std::get<std::shared_ptr<const Method>>(value.data)->self) + 1;
  return 0;
}

std::string_view TypeName(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kText:
      return "str";
    case Kind::kList:
      switch (value.list().kind) {
        case ListKind::kList:
          return "list";
        case ListKind::kTuple:
          return "tuple";
        case ListKind::kRange:
          return "range";
        default:
          return "view of a dict";
      }
    case Kind::kDict:
      return "dict";
    case Kind::kNamespace:
      return "namespace";
    case Kind::kIterator:
      return "generator";
    case Kind::kMacro:
      return "macro";
    case Kind::kLoop:
      return "loop";
    case Kind::kMethod:
      return "method";
    case Kind::kFunction:
      return "function";
  }
  return "";
}

bool IsInteger(const Value& value) { return value.is(Kind::kInt) || value.is(Kind::kBool); }
bool IsNumber(const Value& value) { return IsInteger(value) || value.is(Kind::kFloat); }

std::int64_t IntegerOf(const Value& value) {
  return value.is(Kind::kBool) ? static_cast<std::int64_t>(value.as_bool()) : value.as_int();
}

double NumberOf(const Value& value) {
  return value.is(Kind::kFloat) ? value.as_float() : static_cast<double>(IntegerOf(value));
}

bool IsTrue(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      return NumberOf(value) != 0;
    case Kind::kText:
      return !value.text().empty();
    case Kind::kList:
      return !value.list().items.empty();
    case Kind::kDict:
      return !value.dict().entries.empty();
    default:
      return true;
  }
}

}  // namespace marlin::jinja
