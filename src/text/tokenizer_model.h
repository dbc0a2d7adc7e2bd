// Reads SentencePiece's tokenizer.model into a TokenizerSpec.
#pragma once

#include <string_view>

#include "base/result.h"
#include "text/tokenizer_spec.h"

namespace marlin {

// `bytes` of the file that `where` names; the text of tokenizer_config.json may be empty. Errors: kInput (broken),
// kUnsupported (models of words or characters, options that no language model uses).
Result<TokenizerSpec> SpecFromSentencePiece(std::string_view bytes, std::string_view tokenizer_config_json,
                                            std::string_view where);

}  // namespace marlin
