// For tests: what stands in a text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace marlin {

inline bool Has(const std::string& text, std::string_view piece) { return text.find(piece) != std::string::npos; }

// How often `piece` occurs.
inline int Count(const std::string& text, std::string_view piece) {
  int count = 0;
  for (std::size_t at = text.find(piece); at != std::string_view::npos; at = text.find(piece, at + 1)) ++count;
  return count;
}

}  // namespace marlin
