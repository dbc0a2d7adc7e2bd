// TranslateRegex: expressions that Oniguruma's Ruby syntax and PCRE2 read in the same way pass unchanged. Different
// spellings are converted, and expressions with another meaning are refused. The differences, measured over all code
// points:
//   \s        PCRE2 counts U+180E as space         -> \p{White_Space}
//   \p{..}    PCRE2's Unicode may be older         -> the code points of unicode_additions.h are added
//   (?i: )    Oniguruma folds "ss", "ff", ... to one character; single characters fold alike (s, S, U+017F)
//   {n,m}+    repeats in Ruby, is possessive in PCRE2;  {,m} is a range only in Ruby
//   \w \b \h \R \X and classes within classes differ in ways not worth following
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>

#include "text/regex.h"
#include "text/unicode_additions.h"

namespace marlin {
namespace {

constexpr std::array<std::string_view, 31> kCategories = {
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N",  "Nd", "Nl", "No", "P", "Pc",
    "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp"};

// Pairs that one character folds to: sharp s and the Latin ligatures.
constexpr std::array<std::string_view, 5> kFoldedPairs = {"ss", "ff", "fi", "fl", "st"};

// What may follow "(?"; the contents of the groups are checked separately.
constexpr std::array<std::string_view, 7> kGroups = {":", "=", "!", "<=", "<!", ">", "i:"};

bool IsAlphanumeric(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

// A set, as it is spelled inside a class.
std::string CategorySet(std::string_view category) {
  std::string set = fmt::format("\\p{{{}}}", category);
  for (const UnicodeAddition& row : UnicodeAdditions()) {
    if (row.category.starts_with(category)) {
      set += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", static_cast<unsigned>(row.first), static_cast<unsigned>(row.last));
    }
  }
  return set;
}

class Translator {
 public:
  explicit Translator(std::string_view source) : source_(source) {}

  Result<std::string> Run() {
    if (source_.starts_with("(?i)")) Copy(4);
    while (at_ < source_.size()) {
      if (auto status = Next(); !status) return status.error();
    }
    if (auto status = CheckFolding(); !status) return status.error();
    return std::move(out_);
  }

 private:
  Error Refuse(std::string_view construct) const {
    return {
        ErrorCode::kUnsupported,
        fmt::format("the tokenizer's regular expression '{}' uses {} (at character {}), which this program does not "
                    "take over",
                    source_, construct, at_)};
  }

  char Peek(std::size_t ahead = 0) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }
  std::string_view Rest() const { return source_.substr(at_); }
  void Copy(std::size_t count) {
    out_ += source_.substr(at_, count);
    at_ += count;
  }

  Status Next() {
    switch (Peek()) {
      case '\\':
        return Escape(false);
      case '[':
        return Class();
      case '(':
        return Group();
      case '{':
        return Braces();
      default:
        Copy(1);
        return {};
    }
  }

  Status Group() {
    if (Peek(1) == '*') return Refuse("'(*'");
    if (Peek(1) != '?') {
      Copy(1);
      return {};
    }
    for (const std::string_view group : kGroups) {
      if (source_.substr(at_ + 2).starts_with(group)) {
        Copy(2 + group.size());
        return {};
      }
    }
    return Refuse(fmt::format("the group '{}'", source_.substr(at_, 4)));
  }

  // {n}, {n,}, {n,m}, {,m}; any other brace is itself.
  Status Braces() {
    std::size_t i = at_ + 1;
    const auto digits = [&] {
      const std::size_t begin = i;
      while (i < source_.size() && std::isdigit(static_cast<unsigned char>(source_[i])) != 0) ++i;
      return source_.substr(begin, i - begin);
    };
    const std::string_view low = digits();
    const bool comma = i < source_.size() && source_[i] == ',';
    if (comma) ++i;
    const std::string_view high = comma ? digits() : low;
    if (i >= source_.size() || source_[i] != '}' || (low.empty() && high.empty())) {
      out_ += "\\{";
      ++at_;
      return {};
    }
    const char after = i + 1 < source_.size() ? source_[i + 1] : '\0';
    if (after == '+' || (after == '?' && !comma)) return Refuse(fmt::format("'}}{}'", after));
    out_ += comma ? fmt::format("{{{},{}}}", low.empty() ? "0" : low, high) : fmt::format("{{{}}}", low);
    at_ = i + 1;
    return {};
  }

  Status Class() {
    Copy(1);
    if (Peek() == '^') Copy(1);
    if (Peek() == ']') return Refuse("']' as the first character of a class");
    while (at_ < source_.size() && Peek() != ']') {
      if (Peek() == '[') return Refuse("a class within a class");
      if (Rest().starts_with("&&")) return Refuse("'&&'");
      if (Peek() != '\\') {
        Copy(1);
      } else if (auto status = Escape(true); !status) {
        return status;
      }
    }
    if (at_ >= source_.size()) return Refuse("a class without end");
    Copy(1);
    return {};
  }

  void EmitSet(const std::string& set, bool negated, bool in_class) {
    out_ += in_class ? set : fmt::format("[{}{}]", negated ? "^" : "", set);
  }

  Status Escape(bool in_class) {
    const char c = Peek(1);
    switch (c) {
      case '\0':
        return Refuse("a lone '\\'");
      case 's':
      case 'S':
        out_ += c == 's' ? "\\p{White_Space}" : "\\P{White_Space}";
        at_ += 2;
        return {};
      case 'd':
      case 'D':
        if (in_class && c == 'D') return Refuse("'\\D' in a class");
        EmitSet(CategorySet("Nd"), c == 'D', in_class);
        at_ += 2;
        return {};
      case 'p':
      case 'P':
        return Property(in_class);
      case 'x':
      case 'u':
        return Hexadecimal();
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'a':
      case 'e':
        Copy(2);
        return {};
      case 'v':
        out_ += "\\x0b";
        at_ += 2;
        return {};
      case 'A':
      case 'z':
        if (in_class) break;
        Copy(2);
        return {};
      default:
        break;
    }
    if (IsAlphanumeric(c)) return Refuse(fmt::format("'\\{}'", c));
    if (static_cast<unsigned char>(c) >= 0x80) ++at_;  // PCRE2 wants no escape there
    Copy(static_cast<unsigned char>(c) >= 0x80 ? 1 : 2);
    return {};
  }

  // \p{L}, \P{L}, \p{^L}
  Status Property(bool in_class) {
    const std::size_t end = source_.find('}', at_);
    if (Peek(2) != '{' || end == std::string_view::npos) return Refuse("'\\p' without braces");
    std::string_view name = source_.substr(at_ + 3, end - at_ - 3);
    bool negated = Peek(1) == 'P';
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    if (std::find(kCategories.begin(), kCategories.end(), name) == kCategories.end()) {
      return Refuse(fmt::format("the property '{}'", name));
    }
    if (negated && in_class) return Refuse("a negated property in a class");
    EmitSet(CategorySet(name), negated, in_class);
    at_ = end + 1;
    return {};
  }

  // \x41, \x{4e00}, \u4e00. Above 0x7f, \xHH would be a lone byte in Oniguruma.
  Status Hexadecimal() {
    const bool braces = Peek(1) == 'x' && Peek(2) == '{';
    const std::size_t begin = at_ + (braces ? 3 : 2);
    const std::size_t most = braces ? 6 : Peek(1) == 'x' ? 2 : 4;
    unsigned value = 0;
    std::size_t i = begin;
    for (; i < source_.size() && i - begin < most && std::isxdigit(static_cast<unsigned char>(source_[i])) != 0; ++i) {
      const int digit = std::tolower(static_cast<unsigned char>(source_[i]));
      value = value * 16 + static_cast<unsigned>(digit <= '9' ? digit - '0' : digit - 'a' + 10);
    }
    const bool complete = braces ? i > begin && i < source_.size() && source_[i] == '}' : i - begin == most;
    if (!complete || (!braces && Peek(1) == 'x' && value > 0x7f)) {
      return Refuse(fmt::format("the escape '{}'", source_.substr(at_, 8)));
    }
    out_ += fmt::format("\\x{{{:x}}}", value);
    at_ = braces ? i + 1 : i;
    return {};
  }

  Status CheckFolding() const {
    if (source_.find("(?i") == std::string_view::npos) return {};
    std::string lower(source_);
    for (char& c : lower) {
      if (static_cast<unsigned char>(c) >= 0x80) return Refuse("'(?i' together with characters beyond ASCII");
      c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    for (const std::string_view pair : kFoldedPairs) {
      if (lower.find(pair) != std::string::npos) return Refuse(fmt::format("'(?i' together with '{}'", pair));
    }
    return {};
  }

  std::string_view source_;
  std::size_t at_ = 0;
  std::string out_;
};

}  // namespace

Result<std::string> TranslateRegex(std::string_view oniguruma) { return Translator(oniguruma).Run(); }

}  // namespace marlin
