// Suggests a known word for an unknown one.
#pragma once

#include <span>
#include <string>

namespace marlin {

// What ends a sentence about the word: "; did you mean bench?", or "." when more than half of the letters of every
// known word are others.
std::string DidYouMean(const std::string& word, std::span<const std::string> known);

}  // namespace marlin
