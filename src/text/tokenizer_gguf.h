// Reads the tokenizer of a GGUF file into a TokenizerSpec.
#pragma once

#include <string_view>

#include "base/result.h"
#include "files/gguf.h"
#include "text/tokenizer_spec.h"

namespace marlin {

// The kind (tokenizer.ggml.model) of a file without a tokenizer.
inline constexpr std::string_view kNoGgufTokenizer = "none";

// Errors: kInput (broken; names the key), kUnsupported (another kind of tokenizer, an unknown pre-tokenizer; names it).
Result<TokenizerSpec> SpecFromGguf(const GgufFile& file, std::string_view where);

}  // namespace marlin
