// Reads Mistral's tekken.json into a TokenizerSpec: byte-level BPE whose tokens are bytes with a rank, as tiktoken has
// them, behind a block of special tokens.
#pragma once

#include <string_view>

#include "base/result.h"
#include "text/tokenizer_spec.h"

namespace marlin {

// `tekken_json` is the text of the file that `where` names; the text of tokenizer_config.json may be empty. Errors:
// kInput (broken), kUnsupported (members that could change tokens).
Result<TokenizerSpec> SpecFromTekken(std::string_view tekken_json, std::string_view tokenizer_config_json,
                                     std::string_view where);

}  // namespace marlin
