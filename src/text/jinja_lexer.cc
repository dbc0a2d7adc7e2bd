#include "text/jinja_lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <system_error>

#include "text/jinja_run.h"
#include "text/jinja_text.h"
#include "text/unicode.h"

namespace marlin::jinja {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsNameByte(char c) { return IsNameStart(c) || IsDigit(c); }

constexpr std::array<std::string_view, 26> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                         "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                         ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

// The value of a string token between its quotes.
class Unescaper {
 public:
  explicit Unescaper(std::string_view text) : text_(text) {}

  Result<std::string> Unescape() {
    while (at_ < text_.size()) {
      if (text_[at_] != '\\') {
        out_ += text_[at_++];
      } else if (auto status = Escape(); !status) {
        return status.error();
      }
    }
    return std::move(out_);
  }

 private:
  Status Escape() {
    constexpr std::string_view kLetters = "abfnrtv\\'\"";
    constexpr std::string_view kMeant = "\a\b\f\n\r\t\v\\'\"";
    const char c = text_[at_ + 1];  // a backslash is never the last byte of the token
    at_ += 2;
    if (const std::size_t letter = kLetters.find(c); letter != std::string_view::npos) {
      out_ += kMeant[letter];
    } else if (c == 'x' || c == 'u' || c == 'U') {
      return Digits(c == 'x' ? 2 : c == 'u' ? 4 : 8, 16, c);
    } else if (c >= '0' && c <= '7') {
      --at_;
      std::size_t digits = 1;
      while (digits < 3 && at_ + digits < text_.size() && text_[at_ + digits] >= '0' && text_[at_ + digits] <= '7') {
        ++digits;
      }
      return Digits(digits, 8, c);
    } else if (c == 'N' || static_cast<unsigned char>(c) >= 0x80) {
      return Error{ErrorCode::kUnsupported,
                   c == 'N' ? "the escape \\N in a string" : "a backslash before a character beyond ASCII in a string"};
    } else if (c != '\n') {
      out_ += '\\';
      out_ += c;
    }
    return {};
  }

  Status Digits(std::size_t digits, int base, char letter) {
    const std::string_view number = text_.substr(at_, digits);
    std::uint32_t value = 0;
    const auto parsed = std::from_chars(number.data(), number.data() + number.size(), value, base);
    if (number.size() != digits || parsed.ec != std::errc() || parsed.ptr != number.data() + digits) {
      return Error{ErrorCode::kInput, fmt::format("the escape \\{} in a string wants {} digits", letter, digits)};
    }
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) {
      return Error{ErrorCode::kUnsupported, fmt::format("the escape \\{}{} in a string", letter, number)};
    }
    AppendUtf8(value, out_);
    at_ += digits;
    return {};
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string out_;
};

class Lexer {
 public:
  Lexer(std::string_view source, std::string_view where) : source_(source), where_(where) {}

  Result<std::vector<Token>> Tokenize() {
    while (at_ < source_.size() && !error_) Root();
    if (error_) return *error_;
    Add(TokenKind::kEnd);
    return std::move(tokens_);
  }

 private:
  char Peek(std::size_t ahead = 0) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }
  bool Next(std::string_view text) const { return source_.substr(at_).starts_with(text); }

  bool Skip(std::string_view text) {
    if (!Next(text)) return false;
    at_ += text.size();
    return true;
  }

  void SkipSpace() {
    while (at_ < source_.size()) {
      const CodePoint next = CodePointAt(source_, at_);
      if (!IsPythonSpace(next.value)) break;
      at_ += next.bytes;
    }
  }

  void Fail(ErrorCode code, std::size_t offset, std::string_view message) {
    if (!error_) error_ = Error{code, fmt::format("{}: {}: {}", where_, PlaceIn(source_, offset), message)};
  }

  Token& Add(TokenKind kind, std::string_view text = {}) {
    Token token;
    token.kind = kind;
    token.text = text;
    token.offset = at_;
    return tokens_.emplace_back(std::move(token));
  }

  // The sign behind the begin of a tag: '-', '+' or 0.
  char Sign() {
    const char c = Peek();
    if (c != '-' && c != '+') return '\0';
    ++at_;
    return c;
  }

  // Text between two bytes, before a tag. starts_line: whether it begins a line.
  void AddText(std::size_t begin, std::size_t end, bool starts_line, char sign, bool prints) {
    std::string_view text = source_.substr(begin, end - begin);
    if (sign == '-') {
      text = Strip(text, std::nullopt, Side::kRight);
    } else if (sign != '+' && !prints) {
      const std::size_t line = text.rfind('\n') + 1;  // 0 when there is none
      if ((line > 0 || starts_line) && Strip(text.substr(line), std::nullopt, Side::kBoth).empty()) {
        text = text.substr(0, line);
      }
    }
    if (!text.empty()) Add(TokenKind::kText, text).offset = begin;
  }

  // The end of a tag, its sign and the whitespace that it takes away. close: "%}" or "#}".
  bool SkipEnd(std::string_view close) {
    const char sign = Peek();
    if ((sign == '-' || sign == '+') && source_.substr(at_ + 1).starts_with(close)) {
      at_ += 1 + close.size();
      if (sign == '-') SkipSpace();
      return true;
    }
    if (!Skip(close)) return false;
    Skip("\n");
    return true;
  }

  void Root() {
    const std::size_t begin = at_;
    const bool starts_line = begin == 0 || source_[begin - 1] == '\n';
    std::size_t tag = source_.find('{', begin);
    while (tag != std::string_view::npos && (tag + 1 == source_.size() || !IsTagByte(source_[tag + 1]))) {
      tag = source_.find('{', tag + 1);
    }
    if (tag == std::string_view::npos) {
      Add(TokenKind::kText, source_.substr(begin));
      at_ = source_.size();
      return;
    }
    const char kind = source_[tag + 1];
    at_ = tag + 2;
    const char sign = Sign();
    AddText(begin, tag, starts_line, sign, kind == '{');
    if (kind == '#') {
      Comment(tag);
    } else if (kind == '%' && SkipRawBegin()) {
      Raw(tag);
    } else {
      Add(kind == '%' ? TokenKind::kTagBegin : TokenKind::kPrintBegin).offset = tag;
      Inside(tag, kind == '%');
    }
  }

  static bool IsTagByte(char c) { return c == '%' || c == '{' || c == '#'; }

  void Comment(std::size_t tag) {
    const std::size_t begin = at_;
    at_ = source_.find("#}", begin);
    if (at_ == std::string_view::npos) {
      at_ = source_.size();
      return Fail(ErrorCode::kInput, tag, "the comment has no end");
    }
    if (at_ > begin && (source_[at_ - 1] == '-' || source_[at_ - 1] == '+')) --at_;
    SkipEnd("#}");
  }

  // "raw" and the end of the tag, or nothing.
  bool SkipRawBegin() {
    const std::size_t begin = at_;
    SkipSpace();
    if (Skip("raw")) {
      SkipSpace();
      if (Skip("-%}")) {
        SkipSpace();
        return true;
      }
      if (Skip("%}")) return true;
    }
    at_ = begin;
    return false;
  }

  void Raw(std::size_t tag) {
    const std::size_t begin = at_;
    const bool starts_line = source_[begin - 1] == '\n';
    for (std::size_t end = source_.find("{%", begin); end != std::string_view::npos;
         end = source_.find("{%", end + 1)) {
      at_ = end + 2;
      const char sign = Sign();
      SkipSpace();
      if (!Skip("endraw")) continue;
      SkipSpace();
      if (!SkipEnd("%}")) continue;
      return AddText(begin, end, starts_line, sign, false);
    }
    at_ = source_.size();
    Fail(ErrorCode::kInput, tag, "the raw block has no end");
  }

  // The tokens of a tag up to its end.
  void Inside(std::size_t tag, bool block) {
    std::string open;  // brackets that wait for their partner
    for (;;) {
      SkipSpace();
      if (error_) return;
      if (at_ >= source_.size()) return Fail(ErrorCode::kInput, tag, "the tag has no end");
      const std::size_t begin = at_;
      if (open.empty() && (block ? SkipEnd("%}") : SkipPrintEnd())) {
        Add(block ? TokenKind::kTagEnd : TokenKind::kPrintEnd).offset = begin;
        return;
      }
      OneToken(open);
    }
  }

  bool SkipPrintEnd() {
    if (Skip("-}}")) {
      SkipSpace();
      return true;
    }
    return Skip("}}");
  }

  void OneToken(std::string& open) {
    const char c = Peek();
    if (IsDigit(c)) return Number();
    if (IsNameStart(c)) {
      std::size_t end = at_;
      while (end < source_.size() && IsNameByte(source_[end])) ++end;
      Add(TokenKind::kName, source_.substr(at_, end - at_));
      at_ = end;
      return;
    }
    if (c == '\'' || c == '"') return String(c);
    const auto found = std::ranges::find_if(kOperators, [&](std::string_view op) { return Next(op); });
    if (found == kOperators.end()) {
      const bool ascii = static_cast<unsigned char>(c) < 0x80;
      return Fail(ascii ? ErrorCode::kInput : ErrorCode::kUnsupported, at_,
                  fmt::format("the character {} in a tag",
                              QuoteAsPython(source_.substr(at_, CodePointAt(source_, at_).bytes))));
    }
    Bracket(c, open);
    Add(TokenKind::kOperator, *found);
    at_ += found->size();
  }

  void Bracket(char c, std::string& open) {
    constexpr std::string_view kOpening = "([{";
    constexpr std::string_view kClosing = ")]}";
    if (kOpening.find(c) != std::string_view::npos) open += c;
    const std::size_t closing = kClosing.find(c);
    if (closing == std::string_view::npos) return;
    if (open.empty() || open.back() != kOpening[closing]) {
      return Fail(ErrorCode::kInput, at_, fmt::format("{} closes nothing", c));
    }
    open.pop_back();
  }

  void String(char quote) {
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return Fail(ErrorCode::kInput, at_, "the string has no end");
    auto value = Unescaper(source_.substr(at_ + 1, end - at_ - 1)).Unescape();
    if (!value) return Fail(value.error().code, at_, value.error().message);
    Add(TokenKind::kString, *value);
    at_ = end + 1;
  }

  // Digits with single underscores between them; empty where there are none. From `from` on.
  std::size_t EndOfDigits(std::size_t from) const {
    std::size_t end = from;
    while (end < source_.size() && (IsDigit(source_[end]) || (source_[end] == '_' && end > from))) ++end;
    while (end > from && source_[end - 1] == '_') --end;
    return end;
  }

  void Number() {
    if (Peek() == '0' && IsNameStart(Peek(1)) && Peek(1) != 'e' && Peek(1) != 'E') {
      return Fail(ErrorCode::kUnsupported, at_, "a number that is not decimal");
    }
    std::size_t end = EndOfDigits(at_);
    bool integer = true;
    if (at_ == 0 || source_[at_ - 1] != '.') {
      if (end < source_.size() && source_[end] == '.' && EndOfDigits(end + 1) > end + 1) {
        end = EndOfDigits(end + 1);
        integer = false;
      }
      if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
        const bool sign = end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-');
        const std::size_t digits = end + (sign ? 2 : 1);
        if (EndOfDigits(digits) > digits) {
          end = EndOfDigits(digits);
          integer = false;
        }
      }
    }
    std::string digits(source_.substr(at_, end - at_));
    std::erase(digits, '_');
    Token& token = Add(integer ? TokenKind::kInteger : TokenKind::kFloat);
    const char* const last = digits.data() + digits.size();
    const auto parsed = integer ? std::from_chars(digits.data(), last, token.integer)
                                : std::from_chars(digits.data(), last, token.number);
    if (parsed.ec != std::errc()) Fail(ErrorCode::kUnsupported, at_, "a number beyond 64 bits");
    if (integer && digits.size() > 1 && digits[0] == '0' && token.integer != 0) {
      Fail(ErrorCode::kInput, at_, "a number that begins with 0");
    }
    at_ = end;
  }

  std::string_view source_, where_;
  std::size_t at_ = 0;
  std::vector<Token> tokens_;
  std::optional<Error> error_;
};

}  // namespace

std::string NormalizeLines(std::string_view source) {
  std::string out;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

Result<std::vector<Token>> Tokenize(std::string_view source, std::string_view where) {
  return Lexer(source, where).Tokenize();
}

}  // namespace marlin::jinja
