// What templates can call: filters, tests, methods and functions, by name. An unknown name fails the run.
#pragma once

#include <string_view>

#include "text/jinja_run.h"
#include "text/jinja_value.h"

namespace marlin::jinja {

Value ApplyFilter(Run& run, std::string_view name, const Value& input, const Arguments& arguments);
bool ApplyTest(Run& run, std::string_view name, const Value& value, const Arguments& arguments);
Value CallMethod(Run& run, const Value& self, std::string_view name, const Arguments& arguments);

struct Function {
  std::string_view name;
  Value (*call)(Run& run, const Arguments& arguments);
};
// nullptr when there is none. Names that Jinja has and this program does not fail when they are called.
const Function* FindFunction(std::string_view name);

// The filters that take and give lists; ApplyFilter knows them.
using FilterFunction = Value (*)(Run& run, const Value& input, const Arguments& arguments);
FilterFunction FindListFilter(std::string_view name);

// As Python's json.dumps with the arguments ensure_ascii, indent, separators, sort_keys, of which the first is false
// where it is not given.
Value ToJson(Run& run, const Value& value, const Arguments& arguments);

}  // namespace marlin::jinja
