#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/check.h"

namespace marlin {
namespace {

constexpr unsigned char kFirstThatMayCompose = 0xcc;  // lead byte of U+0300; text below U+0300 is already NFC

const utf8proc_uint8_t* Bytes(std::string_view text) { return reinterpret_cast<const utf8proc_uint8_t*>(text.data()); }

int CombiningClass(utf8proc_int32_t code_point) { return utf8proc_get_property(code_point)->combining_class; }

// Stable order by combining class inside each run of non-starters. utf8proc would swap neighbours, which takes
// quadratic time on long runs.
void SortMarks(std::vector<utf8proc_int32_t>& code_points) {
  auto begin = code_points.begin();
  while (begin != code_points.end()) {
    if (CombiningClass(*begin) == 0) {
      ++begin;
      continue;
    }
    const auto end = std::find_if(begin, code_points.end(), [](auto c) { return CombiningClass(c) == 0; });
    std::stable_sort(begin, end, [](auto a, auto b) { return CombiningClass(a) < CombiningClass(b); });
    begin = end;
  }
}

void AppendComposed(std::string_view text, std::string& out) {
  constexpr utf8proc_ssize_t kMostParts = 32;  // the longest canonical decomposition has 4
  std::vector<utf8proc_int32_t> code_points;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint next = CodePointAt(text, i);
    std::array<utf8proc_int32_t, kMostParts> parts;
    int boundary = 0;
    const auto count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(next.value), parts.data(), kMostParts,
                                static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE), &boundary);
    MARLIN_CHECK(count >= 0 && count <= kMostParts, "a canonical decomposition has at most 4 code points");
    code_points.insert(code_points.end(), parts.begin(), parts.begin() + count);
    i += next.bytes;
  }
  SortMarks(code_points);
  const auto length = utf8proc_normalize_utf32(code_points.data(), static_cast<utf8proc_ssize_t>(code_points.size()),
                                               static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  MARLIN_CHECK(length >= 0, "composition of valid code points cannot fail");
  for (utf8proc_ssize_t i = 0; i < length; ++i) {
    AppendUtf8(static_cast<char32_t>(code_points[static_cast<std::size_t>(i)]), out);
  }
}

bool IsAscii(char c) { return static_cast<unsigned char>(c) < 0x80; }

}  // namespace

std::optional<std::size_t> FindInvalidUtf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    if (IsAscii(text[i])) {
      ++i;
      continue;
    }
    utf8proc_int32_t code_point = 0;
    const auto used = utf8proc_iterate(Bytes(text) + i, static_cast<utf8proc_ssize_t>(text.size() - i), &code_point);
    if (used <= 0) return i;
    i += static_cast<std::size_t>(used);
  }
  return std::nullopt;
}

// ASCII never composes with the character before it, so each run of other characters, with the ASCII character it may
// compose with in front, is normalized by itself.
std::string NormalizeNfc(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::size_t i = 0;
  while (i < text.size()) {
    std::size_t run = i;
    while (run < text.size() && IsAscii(text[run])) ++run;
    std::size_t end = run;
    bool composed = true;
    for (; end < text.size() && !IsAscii(text[end]); ++end) {
      if (static_cast<unsigned char>(text[end]) >= kFirstThatMayCompose) composed = false;
    }
    if (composed) {
      out.append(text.substr(i, end - i));
    } else {
      const std::size_t base = run > i ? run - 1 : run;
      out.append(text.substr(i, base - i));
      AppendComposed(text.substr(base, end - base), out);
    }
    i = end;
  }
  return out;
}

void AppendUtf8(char32_t code_point, std::string& out) {
  std::array<utf8proc_uint8_t, 4> bytes;
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), bytes.data());
  out.append(bytes.begin(), bytes.begin() + length);
}

CodePoint CodePointAt(std::string_view text, std::size_t position) {
  utf8proc_int32_t code_point = 0;
  const auto used =
      utf8proc_iterate(Bytes(text) + position, static_cast<utf8proc_ssize_t>(text.size() - position), &code_point);
  MARLIN_CHECK(used > 0, "text is well-formed UTF-8");
  return {static_cast<char32_t>(code_point), static_cast<std::size_t>(used)};
}

CodePoint CodePointBefore(std::string_view text, std::size_t position) {
  std::size_t begin = position - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) --begin;
  return CodePointAt(text, begin);
}

bool IsWhiteSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool IsWordCharacter(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      break;
  }
  // Joiners, and the circled and squared letters: Alphabetic, though their category is So.
  return c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
         (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
}

}  // namespace marlin
