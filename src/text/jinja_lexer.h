// Divides a Jinja template into text and the tokens of its tags. Whitespace around tags is taken away here, with
// trim_blocks and lstrip_blocks on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace marlin::jinja {

enum class TokenKind {
  kText,
  kPrintBegin,
  kPrintEnd,
  kTagBegin,
  kTagEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;  // of kText, kName, kString (without quotes and escapes), kOperator
  std::int64_t integer = 0;
  double number = 0;
  std::size_t offset = 0;  // byte of the template
};

// Line ends become \n; one at the end of the template is dropped.
std::string NormalizeLines(std::string_view source);

// source: normalized and UTF-8. The last token is kEnd. Errors: kInput, kUnsupported, with line and column.
Result<std::vector<Token>> Tokenize(std::string_view source, std::string_view where);

}  // namespace marlin::jinja
