#include "base/json_error.h"

#include <fmt/format.h>

#include <algorithm>

namespace marlin {
namespace {

// Takes the first `piece` out of the text.
void Remove(std::string& text, const std::string& piece) {
  if (const std::size_t at = text.find(piece); at != std::string::npos) text.erase(at, piece.size());
}

}  // namespace

std::string_view WithoutJsonTag(std::string_view what) {
  if (!what.starts_with("[json.exception.")) return what;
  const std::size_t end = what.find("] ");
  return end == std::string_view::npos ? what : what.substr(end + 2);
}

std::string WhyNoJson(std::string_view text, std::size_t read, std::string_view token, std::string_view what) {
  // "parse error at line 1, column 2: syntax error while parsing value - invalid literal; last read: 'x'; expected ..."
  std::string reason(WithoutJsonTag(what));
  Remove(reason, fmt::format("; last read: '{}'", token));
  Remove(reason, fmt::format(" parsing '{}'", token));
  if (reason.starts_with("parse error") || reason.starts_with("syntax error")) {
    if (const std::size_t dash = reason.find(" - "); dash != std::string::npos) reason.erase(0, dash + 3);
  }
  const std::string_view before = text.substr(0, std::min(read == 0 ? 0 : read - 1, text.size()));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const std::size_t start = before.rfind('\n') + 1;  // 0 where there is no line before
  return fmt::format("line {}, column {}: {}", line, before.size() - start + 1, reason);
}

}  // namespace marlin
