// The filter tojson: json.dumps with the defaults of transformers.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "text/jinja_builtins.h"
#include "text/jinja_operations.h"
#include "text/jinja_text.h"
#include "text/unicode.h"

namespace marlin::jinja {
namespace {

struct JsonStyle {
  bool ascii = false;
  bool sort = false;
  std::optional<std::string> indent;  // of one level
  std::string comma = ", ", colon = ": ";
};

class JsonWriter {
 public:
  JsonWriter(Run& run, const JsonStyle& style) : run_(run), style_(style) {}

  const std::string& Dump(const Value& value) {
    Write(value, 0);
    return out_;
  }

 private:
  void Add(std::string_view text) {
    if (run_.Reserve(text.size())) out_ += text;
  }

  void Write(const Value& value, int level) {
    if (!run_.Step()) return;
    switch (value.kind()) {
      case Kind::kText:
        return Quote(value.text());
      case Kind::kDict:
        return WriteDict(value.dict(), level);
      case Kind::kList:
        if (value.list().kind == ListKind::kList || value.list().kind == ListKind::kTuple) {
          return WriteList(value.list().items, level);
        }
        break;
      default:
        break;
    }
    if (const auto plain = Plain(value)) return Add(*plain);
    run_.Wrong(fmt::format("the filter tojson cannot write a {}", TypeName(value)));
  }

  static std::optional<std::string> Plain(const Value& value) {
    if (value.is(Kind::kNone)) return "null";
    if (value.is(Kind::kBool)) return value.as_bool() ? "true" : "false";
    if (value.is(Kind::kInt)) return std::to_string(value.as_int());
    if (!value.is(Kind::kFloat)) return std::nullopt;
    const double number = value.as_float();
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
    return FloatAsPython(number);
  }

  void NewLine(int level) {
    if (!style_.indent) return;
    Add("\n");
    for (int i = 0; i < level; ++i) Add(*style_.indent);
  }

  template <class Each>
  void WriteAll(std::size_t count, std::string_view open, std::string_view close, int level, Each each) {
    Add(open);
    for (std::size_t i = 0; i < count && !run_.failed(); ++i) {
      if (i > 0) Add(style_.comma);
      NewLine(level + 1);
      each(i);
    }
    if (count > 0) NewLine(level);
    Add(close);
  }

  void WriteList(const Items& items, int level) {
    WriteAll(items.size(), "[", "]", level, [&](std::size_t i) { Write(items[i], level + 1); });
  }

  void WriteDict(const Dict& dict, int level) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort) {
      std::ranges::stable_sort(entries, [&](const auto* a, const auto* b) { return Less(run_, a->first, b->first); });
    }
    WriteAll(entries.size(), "{", "}", level, [&](std::size_t i) {
      const Value& key = entries[i]->first;
      const auto plain = Plain(key);
      if (!key.is(Kind::kText) && !plain) {
        run_.Wrong(fmt::format("the filter tojson cannot write the key of a dict, a {}", TypeName(key)));
        return;
      }
      Quote(plain ? *plain : key.text());
      Add(style_.colon);
      Write(entries[i]->second, level + 1);
    });
  }

  void Quote(std::string_view text) {
    std::string quoted = "\"";
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint next = CodePointAt(text, at);
      AppendEscaped(next.value, quoted);
      at += next.bytes;
    }
    Add(quoted + '"');
  }

  void AppendEscaped(char32_t c, std::string& out) const {
    constexpr std::string_view kNamed = "\"\\\n\r\t\f\b";
    constexpr std::string_view kLetters = "\"\\nrtfb";
    const std::size_t named = c < 0x80 ? kNamed.find(static_cast<char>(c)) : std::string_view::npos;
    if (named != std::string_view::npos) {
      out += '\\';
      out += kLetters[named];
    } else if (c < 0x20 || (style_.ascii && c > 0x7e && c < 0x10000)) {
      out += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(c));
    } else if (style_.ascii && c >= 0x10000) {
      const std::uint32_t above = static_cast<std::uint32_t>(c) - 0x10000;
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + (above >> 10), 0xdc00 + (above & 0x3ff));
    } else {
      AppendUtf8(c, out);
    }
  }

  Run& run_;
  const JsonStyle& style_;
  std::string out_;
};

}  // namespace

Value ToJson(Run& run, const Value& value, const Arguments& arguments) {
  constexpr std::array<std::string_view, 4> kNames = {"ensure_ascii", "indent", "separators", "sort_keys"};
  const Bound bound(run, arguments, "the filter tojson", kNames, 0);
  JsonStyle style;
  style.ascii = bound.Flag(0, false);
  style.sort = bound.Flag(3, false);
  if (bound.has(1) && !bound[1].is(Kind::kNone)) {
    if (bound[1].is(Kind::kText)) {
      style.indent = bound[1].text();
    } else if (IsInteger(bound[1]) && IntegerOf(bound[1]) <= 100) {
      style.indent = std::string(static_cast<std::size_t>(std::max<std::int64_t>(IntegerOf(bound[1]), 0)), ' ');
    } else {
      return run.Wrong("the filter tojson wants an indent of at most 100, or a text");
    }
    style.comma = ",";
  }
  if (bound.has(2) && !bound[2].is(Kind::kNone)) {
    const auto pair = IterateOver(run, bound[2]);
    if (!pair || pair->items.size() != 2 || !pair->items[0].is(Kind::kText) || !pair->items[1].is(Kind::kText)) {
      return run.Wrong("the filter tojson wants two texts as separators");
    }
    style.comma = pair->items[0].text();
    style.colon = pair->items[1].text();
  }
  return run.failed() ? Value() : run.MakeText(JsonWriter(run, style).Dump(value));
}

}  // namespace marlin::jinja
