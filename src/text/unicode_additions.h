// Code points assigned between Unicode 14 (the oldest that a supported PCRE2 knows) and the version of Hugging Face
// tokenizers, by general category. They are added to the classes of every expression, so that new scripts are split in
// the same way.
#pragma once

#include <span>
#include <string_view>

namespace marlin {

struct UnicodeAddition {
  std::string_view category;  // "Lo"; "#" = numbers that only the pre-tokenizer Digits knows
  char32_t first;
  char32_t last;
};

std::span<const UnicodeAddition> UnicodeAdditions();

}  // namespace marlin
