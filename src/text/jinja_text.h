// What Python's str does, for the Jinja interpreter: strip, split, case, replace, repr, numbers as text. Texts are
// well-formed UTF-8; positions and counts are code points unless a name says bytes.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace marlin::jinja {

// str.isspace of one character: White_Space and U+001C to U+001F.
bool IsPythonSpace(char32_t code_point);

std::size_t CountCodePoints(std::string_view text);
// The byte where code point `index` begins; text.size() for indices at or behind the end.
std::size_t ByteOffset(std::string_view text, std::size_t index);
std::vector<std::string_view> CodePointsOf(std::string_view text);

enum class Side { kLeft, kRight, kBoth };
// chars: the characters to take away; without them, whitespace.
std::string_view Strip(std::string_view text, std::optional<std::string_view> chars, Side side);

// At most `most` splits; negative = all. The separator is not empty; without one, runs of whitespace separate and empty
// pieces are left out.
std::vector<std::string_view> Split(std::string_view text, std::optional<std::string_view> separator, long most);
// The same with the splits counted from the end.
std::vector<std::string_view> SplitFromEnd(std::string_view text, std::string_view separator, long most);
std::vector<std::string_view> SplitLines(std::string_view text);

// How often `piece` occurs without overlap; an empty piece occurs between all characters.
std::size_t CountPieces(std::string_view text, std::string_view piece);
// Replaces the first `most` pieces; negative = all.
std::string ReplacePieces(std::string_view text, std::string_view from, std::string_view to, long most);

// Errors: kUnsupported for characters whose other case is more than one character or depends on the neighbours (it
// names the character).
enum class Case { kUpper, kLower, kTitleWords, kCapitalized };
Result<std::string> ChangeCase(std::string_view text, Case to);

// repr(str)
std::string QuoteAsPython(std::string_view text);
// repr(float)
std::string FloatAsPython(double value);
// & < > ' " as markupsafe.escape writes them.
std::string EscapeMarkup(std::string_view text);

}  // namespace marlin::jinja
