// Messages of the JSON library in the words of this program.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace marlin {

// The library's message about an exception without its tag: "type must be string, but is null" of
// "[json.exception.type_error.302] type must be string, but is null". Other texts stay as they are.
std::string_view WithoutJsonTag(std::string_view what);

// Why a text is no JSON, as one phrase: "line 2, column 5: unexpected end of input; expected ':'". `read`: bytes that
// the library had read, the wrong one included. `token`: what it read last; the phrase leaves it out, since it may be
// long or no text. `what`: the library's message.
std::string WhyNoJson(std::string_view text, std::size_t read, std::string_view token, std::string_view what);

}  // namespace marlin
