// The Unicode functions that tokenizers need: well-formedness, normal forms, lower case, and a few character classes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace marlin {

// The first byte that does not begin or continue a well-formed UTF-8 sequence (no surrogates, no overlong forms,
// nothing above U+10FFFF); nothing when the text is well formed.
std::optional<std::size_t> FindInvalidUtf8(std::string_view text);

// Normalization forms: canonical or compatible (K), decomposed (D) or composed (C).
enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

// A form of well-formed text, in time O(n log n) whatever the text.
std::string NormalizeUnicode(std::string_view text, UnicodeForm form);

// The lower case of each character by itself, as Rust's char::to_lowercase gives it.
std::string LowerCase(std::string_view text);

void AppendUtf8(char32_t code_point, std::string& out);

// The code point that begins at `position`, or ends before `position`, of well-formed text, and its bytes.
struct CodePoint {
  char32_t value = 0;
  std::size_t bytes = 0;
};
CodePoint CodePointAt(std::string_view text, std::size_t position);
CodePoint CodePointBefore(std::string_view text, std::size_t position);

// Property White_Space.
bool IsWhiteSpace(char32_t code_point);
// A character that the pre-tokenizer Punctuation cuts: ASCII punctuation and the categories P of Unicode 8.
bool IsPunctuation(char32_t code_point);
// \w of Unicode regular expressions (UTS #18, annex C): Alphabetic, marks, decimal digits, connectors, joiners.
bool IsWordCharacter(char32_t code_point);

// Appends the byte positions at which extended grapheme clusters of well-formed text end.
void GraphemeEnds(std::string_view text, std::vector<std::size_t>& ends);

}  // namespace marlin
