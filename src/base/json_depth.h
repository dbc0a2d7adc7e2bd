// How deep a JSON text is nested: to be asked before parsing, since copying and printing a value recurse as deep.
#pragma once

#include <string_view>

namespace marlin {

inline constexpr int kDeepestJson = 64;  // what this program takes; its files and those of models stay below ten

// Deepest nesting of brackets outside strings, whether or not the text is valid.
int JsonDepth(std::string_view text);

}  // namespace marlin
