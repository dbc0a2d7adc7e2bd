// The alphabet of byte-level BPE: each byte has one printable character, so that vocabularies are text. Bytes that are
// printable in Latin-1 (33..126, 161..172, 174..255) keep their code point. The other 68 are U+0100, U+0101, ... in
// order.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace marlin {

// Any bytes to UTF-8 text of the alphabet.
std::string ToByteAlphabet(std::string_view bytes);

// Back; nothing when the text has a character outside the alphabet or is not UTF-8.
std::optional<std::string> FromByteAlphabet(std::string_view text);

}  // namespace marlin
