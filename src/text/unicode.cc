#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <utility>
#include <vector>

#include "base/check.h"

namespace marlin {
namespace {

constexpr unsigned char kFirstThatMayCompose = 0xcc;  // lead byte of U+0300; text below U+0300 is already NFC

// Characters that decompose since Unicode 12.1, which Hugging Face tokenizers leave as they are; and the second half of
// the only canonical composition among them.
constexpr std::array<std::pair<char32_t, char32_t>, 10> kDecomposedSinceUnicode12 = {{{0x32ff, 0x32ff},
                                                                                      {0xa7f2, 0xa7f4},
                                                                                      {0xab69, 0xab69},
                                                                                      {0x10781, 0x10785},
                                                                                      {0x10787, 0x107b0},
                                                                                      {0x107b2, 0x107ba},
                                                                                      {0x11938, 0x11938},
                                                                                      {0x1e030, 0x1e06d},
                                                                                      {0x1f16c, 0x1f16c},
                                                                                      {0x1fbf0, 0x1fbf9}}};
constexpr char32_t kComposesSinceUnicode13 = 0x11930;

// Capital letters of Unicode 14 to 17 and their small letters, as far as utf8proc may not know them: first, last, and
// the small letter of the first.
struct CaseRange {
  char32_t first, last, small;
};
constexpr std::array<CaseRange, 10> kCapitalsSinceUnicode14 = {{{0x1c89, 0x1c89, 0x1c8a},
                                                                {0xa7cb, 0xa7cb, 0x264},
                                                                {0xa7cc, 0xa7cc, 0xa7cd},
                                                                {0xa7ce, 0xa7ce, 0xa7cf},
                                                                {0xa7d2, 0xa7d2, 0xa7d3},
                                                                {0xa7d4, 0xa7d4, 0xa7d5},
                                                                {0xa7da, 0xa7da, 0xa7db},
                                                                {0xa7dc, 0xa7dc, 0x19b},
                                                                {0x10d50, 0x10d65, 0x10d70},
                                                                {0x16ea0, 0x16eb8, 0x16ebb}}};

// Punctuation of today that Unicode 8 did not have as such.
constexpr std::array<std::pair<char32_t, char32_t>, 38> kPunctuationSinceUnicode8 = {
    {{0x61d, 0x61d},     {0x9fd, 0x9fd},     {0xa76, 0xa76},     {0xc77, 0xc77},     {0xc84, 0xc84},
     {0x1b4e, 0x1b4f},   {0x1b7d, 0x1b7f},   {0x2e43, 0x2e4f},   {0x2e52, 0x2e5d},   {0x10d6e, 0x10d6e},
     {0x10ead, 0x10ead}, {0x10f55, 0x10f59}, {0x10f86, 0x10f89}, {0x113d4, 0x113d8}, {0x1144b, 0x1144f},
     {0x1145a, 0x1145b}, {0x1145d, 0x1145d}, {0x11660, 0x1166c}, {0x116b9, 0x116b9}, {0x1183b, 0x1183b},
     {0x11944, 0x11946}, {0x119e2, 0x119e2}, {0x11a3f, 0x11a46}, {0x11a9a, 0x11a9c}, {0x11a9e, 0x11aa2},
     {0x11b00, 0x11b09}, {0x11be1, 0x11be1}, {0x11c41, 0x11c45}, {0x11c70, 0x11c71}, {0x11ef7, 0x11ef8},
     {0x11f43, 0x11f4f}, {0x11fff, 0x11fff}, {0x12ff1, 0x12ff2}, {0x16d6d, 0x16d6f}, {0x16e97, 0x16e9a},
     {0x16fe2, 0x16fe2}, {0x1e5ff, 0x1e5ff}, {0x1e95e, 0x1e95f}}};
// Punctuation of Unicode 8 that is a symbol today.
constexpr std::array<char32_t, 2> kPunctuationOfUnicode8 = {0x166d, 0x111c9};

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

template <std::size_t n>
bool InRanges(char32_t c, const std::array<std::pair<char32_t, char32_t>, n>& ranges) {
  return std::ranges::any_of(ranges, [&](const auto& range) { return c >= range.first && c <= range.second; });
}

utf8proc_option_t StableForm(int bits) { return static_cast<utf8proc_option_t>(bits | UTF8PROC_STABLE); }

// Composes [begin, end) in place; gives the new end.
utf8proc_int32_t* Compose(utf8proc_int32_t* begin, utf8proc_int32_t* end) {
  const auto length = utf8proc_normalize_utf32(begin, end - begin, StableForm(UTF8PROC_COMPOSE));
  MARLIN_CHECK(length >= 0, "composition of valid code points cannot fail");
  return begin + length;
}

void AppendNormalized(std::string_view text, UnicodeForm form, std::string& out) {
  constexpr utf8proc_ssize_t kMostParts = 32;  // the longest decomposition has 18
  const bool compatible = form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
  const bool compose = form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc;
  const auto option = StableForm(compatible ? UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT : UTF8PROC_DECOMPOSE);
  std::vector<utf8proc_int32_t> code_points;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint next = CodePointAt(text, i);
    i += next.bytes;
    if (InRanges(next.value, kDecomposedSinceUnicode12)) {
      code_points.push_back(static_cast<utf8proc_int32_t>(next.value));
      continue;
    }
    std::array<utf8proc_int32_t, kMostParts> parts;
    int boundary = 0;
    const auto count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(next.value), parts.data(), kMostParts, option, &boundary);
    MARLIN_CHECK(count >= 0 && count <= kMostParts, "a decomposition has at most 18 code points");
    code_points.insert(code_points.end(), parts.begin(), parts.begin() + count);
  }
  SortMarks(code_points);
  const auto all = code_points.data();
  for (std::size_t begin = 0; begin < code_points.size();) {
    std::size_t end = begin + 1;
    while (end < code_points.size() && static_cast<char32_t>(code_points[end]) != kComposesSinceUnicode13) ++end;
    const auto* stop = compose ? Compose(all + begin, all + end) : all + end;
    for (const auto* c = all + begin; c != stop; ++c) AppendUtf8(static_cast<char32_t>(*c), out);
    begin = end;
  }
}

bool IsAscii(char c) { return static_cast<unsigned char>(c) < 0x80; }

}  // namespace

std::optional<std::size_t> FindInvalidUtf8(std::string_view text) {
  constexpr std::uint64_t kHighBits = 0x8080808080808080u;
  for (std::size_t i = 0; i < text.size();) {
    if (IsAscii(text[i])) {
      std::uint64_t eight = kHighBits;
      if (text.size() - i >= sizeof(eight)) std::memcpy(&eight, text.data() + i, sizeof(eight));
      i += (eight & kHighBits) == 0 ? sizeof(eight) : 1;
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
std::string NormalizeUnicode(std::string_view text, UnicodeForm form) {
  std::string out;
  out.reserve(text.size());
  std::size_t i = 0;
  while (i < text.size()) {
    std::size_t run = i;
    while (run < text.size() && IsAscii(text[run])) ++run;
    std::size_t end = run;
    bool stays = form == UnicodeForm::kNfc || end == text.size();
    for (; end < text.size() && !IsAscii(text[end]); ++end) {
      if (static_cast<unsigned char>(text[end]) >= kFirstThatMayCompose) stays = false;
    }
    if (stays) {
      out.append(text.substr(i, end - i));
    } else {
      const std::size_t base = run > i ? run - 1 : run;
      out.append(text.substr(i, base - i));
      AppendNormalized(text.substr(base, end - base), form, out);
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

namespace {

char32_t SmallLetter(char32_t c) {
  for (const CaseRange& range : kCapitalsSinceUnicode14) {
    if (c >= range.first && c <= range.last) return range.small + (c - range.first);
  }
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}

}  // namespace

std::string LowerCase(std::string_view text) {
  constexpr char32_t kCapitalIWithDot = 0x130;  // the only one whose lower case has two characters
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint next = CodePointAt(text, i);
    if (next.value == kCapitalIWithDot) {
      out += "i\u0307";
    } else {
      AppendUtf8(SmallLetter(next.value), out);
    }
    i += next.bytes;
  }
  return out;
}

void GraphemeEnds(std::string_view text, std::vector<std::size_t>& ends) {
  utf8proc_int32_t state = 0;
  utf8proc_int32_t previous = -1;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint next = CodePointAt(text, i);
    const auto value = static_cast<utf8proc_int32_t>(next.value);
    if (previous >= 0 && utf8proc_grapheme_break_stateful(previous, value, &state)) ends.push_back(i);
    previous = value;
    i += next.bytes;
  }
  if (!text.empty()) ends.push_back(text.size());
}

bool IsPunctuation(char32_t c) {
  if (c < 0x80) return std::ispunct(static_cast<int>(c)) != 0;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      return !InRanges(c, kPunctuationSinceUnicode8);
    default:
      return std::ranges::find(kPunctuationOfUnicode8, c) != kPunctuationOfUnicode8.end();
  }
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
