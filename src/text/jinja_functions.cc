// The functions that chat templates may call.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text/jinja_builtins.h"
#include "text/jinja_operations.h"
#include "text/jinja_text.h"

namespace marlin::jinja {
namespace {

constexpr std::int64_t kLongestRange = 100'000;  // that of Jinja's sandbox
constexpr std::array<std::string_view, 1> kMessage = {"message"};
constexpr std::array<std::string_view, 1> kFormat = {"format"};

Value RangeFunction(Run& run, const Arguments& arguments) {
  const std::size_t count = arguments.positional.size();
  if (count < 1 || count > 3 || !arguments.named.empty()) return run.Wrong("the function range takes 1 to 3 integers");
  for (const Value& value : arguments.positional) {
    if (!IsInteger(value))
      return run.Wrong(fmt::format("the function range wants integers, got a {}", TypeName(value)));
  }
  const std::int64_t begin = count > 1 ? IntegerOf(arguments.positional[0]) : 0;
  const std::int64_t end = IntegerOf(arguments.positional[count > 1 ? 1 : 0]);
  const std::int64_t step = count > 2 ? IntegerOf(arguments.positional[2]) : 1;
  if (step == 0) return run.Wrong("the function range with the step 0");
  Items items;
  std::int64_t at = begin;
  while (step > 0 ? at < end : at > end) {
    if (static_cast<std::int64_t>(items.size()) == kLongestRange) {
      return run.Wrong(fmt::format("the function range gives more than {} numbers", kLongestRange));
    }
    items.push_back(Value::Int(at));
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return run.MakeList(std::move(items), ListKind::kRange);
}

// Names and values of dict(...) and namespace(...): of a dict, then the named ones.
std::vector<std::pair<Value, Value>> EntriesOf(Run& run, std::string_view what, const Arguments& arguments) {
  std::vector<std::pair<Value, Value>> entries;
  if (arguments.positional.size() > 1) run.Wrong(fmt::format("the function {} takes one dict and named values", what));
  if (arguments.positional.size() == 1) {
    const Value& first = arguments.positional[0];
    if (first.is(Kind::kDict)) {
      entries = first.dict().entries;
    } else {
      run.Unsupported(fmt::format("the function {} of a {}", what, TypeName(first)));
    }
  }
  for (const auto& [name, value] : arguments.named) {
    if (run.failed()) break;
    SetKey(run, entries, run.MakeText(name), value);
  }
  return entries;
}

Value DictFunction(Run& run, const Arguments& arguments) { return run.MakeDict(EntriesOf(run, "dict", arguments)); }

Value NamespaceFunction(Run& run, const Arguments& arguments) {
  const auto entries = EntriesOf(run, "namespace", arguments);
  if (run.failed()) return {};
  Namespace* const space = run.MakeNamespace();
  for (const auto& [key, value] : entries) {
    if (!key.is(Kind::kText) || key.text().starts_with('_')) {
      return run.Wrong("a namespace wants names that do not begin with an underscore");
    }
    space->attributes.emplace_back(key.text(), value);
  }
  return Value::Data(space);
}

Value RaiseFunction(Run& run, const Arguments& arguments) {
  const Bound bound(run, arguments, "the function raise_exception", kMessage, 1);
  if (run.failed()) return {};
  return run.Wrong("the template refuses the messages: " + TextOf(run, bound[0]));
}

// The directives of strftime that are the same everywhere.
Value TimeFunction(Run& run, const Arguments& arguments) {
  Bound bound(run, arguments, "the function strftime_now", kFormat, 1);
  constexpr std::string_view kDirectives = "aAbBdHIjmMpSUwWyY%";
  constexpr std::string_view kUnpadded = "dHIjmMSyUW";  // also as %-d
  const std::string format(bound.TextOr(0, ""));
  std::string out;
  for (std::size_t at = 0; at < format.size() && !run.failed(); ++at) {
    if (format[at] != '%') {
      out += format[at];
      continue;
    }
    const bool unpadded = at + 1 < format.size() && format[at + 1] == '-';
    at += unpadded ? 2 : 1;
    if (at >= format.size() || (unpadded ? kUnpadded : kDirectives).find(format[at]) == std::string_view::npos) {
      return run.Unsupported(
          "a directive of strftime_now other than %a %A %b %B %d %H %I %j %m %M %p %S %U %w %W %y %Y %%");
    }
    std::array<char, 64> buffer;
    const std::array<char, 3> directive = {'%', format[at], '\0'};
    std::string_view text(buffer.data(), std::strftime(buffer.data(), buffer.size(), directive.data(), &run.now()));
    while (unpadded && text.size() > 1 && text.front() == '0') text.remove_prefix(1);
    out += text;
  }
  return run.MakeText(out);
}

template <int function>
Value Missing(Run& run, const Arguments&) {
  constexpr std::array<std::string_view, 3> kNames = {"cycler", "joiner", "lipsum"};
  return run.Unsupported(fmt::format("the function {} is not supported", kNames[function]));
}

constexpr std::array kFunctions = {Function{"range", RangeFunction},         Function{"dict", DictFunction},
                                   Function{"namespace", NamespaceFunction}, Function{"raise_exception", RaiseFunction},
                                   Function{"strftime_now", TimeFunction},   Function{"cycler", Missing<0>},
                                   Function{"joiner", Missing<1>},           Function{"lipsum", Missing<2>}};

}  // namespace

const Function* FindFunction(std::string_view name) {
  const auto found = std::ranges::find(kFunctions, name, &Function::name);
  return found == kFunctions.end() ? nullptr : &*found;
}

}  // namespace marlin::jinja
