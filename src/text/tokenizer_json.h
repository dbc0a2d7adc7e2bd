// Reads and writes tokenizer.json and tokenizer_config.json, the files of Hugging Face tokenizers, as a TokenizerSpec.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "text/tokenizer_spec.h"

namespace marlin {

// `tokenizer_config_json` may be empty. Errors: kInput (broken; names the place), kUnsupported (names what was found).
Result<TokenizerSpec> SpecFromTokenizerJson(std::string_view tokenizer_json, std::string_view tokenizer_config_json,
                                            std::string_view where);

// Files that Hugging Face tokenizers loads to the same behaviour.
std::string WriteTokenizerJson(const TokenizerSpec& spec);
std::string WriteTokenizerConfigJson(const TokenizerSpec& spec);

}  // namespace marlin
