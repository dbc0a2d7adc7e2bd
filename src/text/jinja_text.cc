#include "text/jinja_text.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>

#include "base/check.h"
#include "text/unicode.h"

namespace marlin::jinja {
namespace {

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

bool Strips(char32_t code_point, const std::optional<std::string_view>& chars) {
  if (!chars) return IsPythonSpace(code_point);
  std::string one;
  AppendUtf8(code_point, one);
  return chars->find(one) != std::string_view::npos;
}

std::vector<std::string_view> SplitAtSpace(std::string_view text, long most) {
  std::vector<std::string_view> pieces;
  text = Strip(text, std::nullopt, Side::kLeft);
  while (!text.empty()) {
    if (most >= 0 && pieces.size() == static_cast<std::size_t>(most)) {
      pieces.push_back(text);
      break;
    }
    std::size_t end = 0;
    while (end < text.size()) {
      const CodePoint next = CodePointAt(text, end);
      if (IsPythonSpace(next.value)) break;
      end += next.bytes;
    }
    pieces.push_back(text.substr(0, end));
    text = Strip(text.substr(end), std::nullopt, Side::kLeft);
  }
  return pieces;
}

struct CodePointRange {
  char32_t first, last;
};

// Characters whose upper case is more than one character (SpecialCasing.txt of Unicode).
constexpr std::array kLongUpper = {
    CodePointRange{0xdf, 0xdf},     CodePointRange{0x149, 0x149},   CodePointRange{0x1f0, 0x1f0},
    CodePointRange{0x390, 0x390},   CodePointRange{0x3b0, 0x3b0},   CodePointRange{0x587, 0x587},
    CodePointRange{0x1e96, 0x1e9a}, CodePointRange{0x1f50, 0x1f56}, CodePointRange{0x1f80, 0x1faf},
    CodePointRange{0x1fb2, 0x1fbc}, CodePointRange{0x1fc2, 0x1fcc}, CodePointRange{0x1fd2, 0x1fd7},
    CodePointRange{0x1fe2, 0x1fe7}, CodePointRange{0x1ff2, 0x1ffc}, CodePointRange{0xfb00, 0xfb17}};
// Characters whose lower case is more than one character (U+0130) or depends on the neighbours (U+03A3).
constexpr std::array kSpecialLower = {CodePointRange{0x130, 0x130}, CodePointRange{0x3a3, 0x3a3}};

template <std::size_t n>
bool Holds(const std::array<CodePointRange, n>& ranges, char32_t c) {
  return std::ranges::any_of(ranges, [c](const CodePointRange& range) { return range.first <= c && c <= range.last; });
}

bool IsCased(char32_t c) {
  const auto point = static_cast<utf8proc_int32_t>(c);
  const auto category = utf8proc_category(point);
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT ||
         utf8proc_toupper(point) != point || utf8proc_tolower(point) != point;
}

// str.isprintable of one character.
bool IsPrintable(char32_t c) {
  if (c == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

void AppendQuoted(char32_t c, char quote, std::string& out) {
  if (c == static_cast<char32_t>(quote) || c == '\\') {
    out += '\\';
    out += static_cast<char>(c);
  } else if (c == '\n') {
    out += "\\n";
  } else if (c == '\r') {
    out += "\\r";
  } else if (c == '\t') {
    out += "\\t";
  } else if (IsPrintable(c)) {
    AppendUtf8(c, out);
  } else if (c < 0x100) {
    out += fmt::format("\\x{:02x}", static_cast<std::uint32_t>(c));
  } else if (c < 0x10000) {
    out += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(c));
  } else {
    out += fmt::format("\\U{:08x}", static_cast<std::uint32_t>(c));
  }
}

}  // namespace

bool IsPythonSpace(char32_t code_point) {
  return (code_point >= 0x1c && code_point <= 0x1f) || IsWhiteSpace(code_point);
}

std::size_t CountCodePoints(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return !IsContinuation(c); }));
}

std::size_t ByteOffset(std::string_view text, std::size_t index) {
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    if (IsContinuation(text[at])) continue;
    if (index == 0) return at;
    --index;
  }
  return at;
}

std::vector<std::string_view> CodePointsOf(std::string_view text) {
  std::vector<std::string_view> points;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t bytes = CodePointAt(text, at).bytes;
    points.push_back(text.substr(at, bytes));
    at += bytes;
  }
  return points;
}

std::string_view Strip(std::string_view text, std::optional<std::string_view> chars, Side side) {
  while (side != Side::kRight && !text.empty()) {
    const CodePoint first = CodePointAt(text, 0);
    if (!Strips(first.value, chars)) break;
    text.remove_prefix(first.bytes);
  }
  while (side != Side::kLeft && !text.empty()) {
    const CodePoint last = CodePointBefore(text, text.size());
    if (!Strips(last.value, chars)) break;
    text.remove_suffix(last.bytes);
  }
  return text;
}

std::vector<std::string_view> Split(std::string_view text, std::optional<std::string_view> separator, long most) {
  if (!separator) return SplitAtSpace(text, most);
  MARLIN_CHECK(!separator->empty(), "a separator has characters");
  std::vector<std::string_view> pieces;
  while (most < 0 || pieces.size() < static_cast<std::size_t>(most)) {
    const std::size_t at = text.find(*separator);
    if (at == std::string_view::npos) break;
    pieces.push_back(text.substr(0, at));
    text.remove_prefix(at + separator->size());
  }
  pieces.push_back(text);
  return pieces;
}

std::vector<std::string_view> SplitFromEnd(std::string_view text, std::string_view separator, long most) {
  std::vector<std::string_view> pieces;
  while (most < 0 || pieces.size() < static_cast<std::size_t>(most)) {
    const std::size_t at = text.rfind(separator);
    if (at == std::string_view::npos) break;
    pieces.push_back(text.substr(at + separator.size()));
    text = text.substr(0, at);
  }
  pieces.push_back(text);
  std::ranges::reverse(pieces);
  return pieces;
}

std::vector<std::string_view> SplitLines(std::string_view text) {
  std::vector<std::string_view> lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint next = CodePointAt(text, at);
    const char32_t c = next.value;
    const bool ends = (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
    std::size_t after = at + next.bytes;
    if (ends) {
      lines.push_back(text.substr(begin, at - begin));
      if (c == '\r' && after < text.size() && text[after] == '\n') ++after;
      begin = after;
    }
    at = after;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::size_t CountPieces(std::string_view text, std::string_view piece) {
  if (piece.empty()) return CountCodePoints(text) + 1;
  std::size_t count = 0;
  for (std::size_t at = text.find(piece); at != std::string_view::npos; at = text.find(piece, at + piece.size()))
    ++count;
  return count;
}

std::string ReplacePieces(std::string_view text, std::string_view from, std::string_view to, long most) {
  std::string out;
  std::size_t done = 0;
  const auto may_go_on = [&] { return most < 0 || done < static_cast<std::size_t>(most); };
  if (from.empty()) {
    for (const std::string_view point : CodePointsOf(text)) {
      if (may_go_on()) {
        out += to;
        ++done;
      }
      out += point;
    }
    if (may_go_on()) out += to;
    return out;
  }
  while (may_go_on()) {
    const std::size_t at = text.find(from);
    if (at == std::string_view::npos) break;
    out.append(text.substr(0, at)).append(to);
    text.remove_prefix(at + from.size());
    ++done;
  }
  return out.append(text);
}

Result<std::string> ChangeCase(std::string_view text, Case to) {
  std::string out;
  bool after_cased = false;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint next = CodePointAt(text, at);
    const auto point = static_cast<utf8proc_int32_t>(next.value);
    const bool first = to == Case::kTitleWords ? !after_cased : at == 0;
    const bool raises = to == Case::kUpper || (to != Case::kLower && first);
    if (raises ? Holds(kLongUpper, next.value) : Holds(kSpecialLower, next.value)) {
      return Error{ErrorCode::kUnsupported, fmt::format("the {} case of the character U+{:04X} is not supported",
                                                        raises ? "upper" : "lower", static_cast<std::uint32_t>(point))};
    }
    const auto changed = !raises              ? utf8proc_tolower(point)
                         : to == Case::kUpper ? utf8proc_toupper(point)
                                              : utf8proc_totitle(point);
    AppendUtf8(static_cast<char32_t>(changed), out);
    after_cased = IsCased(next.value);
    at += next.bytes;
  }
  return out;
}

std::string QuoteAsPython(std::string_view text) {
  const bool single = text.find('\'') == std::string_view::npos || text.find('"') != std::string_view::npos;
  const char quote = single ? '\'' : '"';
  std::string out(1, quote);
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint next = CodePointAt(text, at);
    AppendQuoted(next.value, quote, out);
    at += next.bytes;
  }
  return out + quote;
}

// The fewest digits that give the number back, in positional notation for exponents from -4 to 15.
std::string FloatAsPython(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::array<char, 64> buffer;
  const auto end = std::to_chars(buffer.begin(), buffer.end(), value, std::chars_format::scientific);
  std::string text(buffer.begin(), end.ptr);
  const std::size_t e = text.find('e');
  const int exponent = std::stoi(text.substr(e + 1));
  if (exponent < -4 || exponent >= 16) return text;
  const auto fixed = std::to_chars(buffer.begin(), buffer.end(), value, std::chars_format::fixed);
  text.assign(buffer.begin(), fixed.ptr);
  return text.find('.') == std::string::npos ? text + ".0" : text;
}

std::string EscapeMarkup(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace marlin::jinja
