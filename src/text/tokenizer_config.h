// tokenizer_config.json, which stands beside tokenizer.json, tekken.json or tokenizer.model: the rule for BOS, the
// names of special tokens, and added tokens where no other file has them.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/result.h"
#include "text/added_tokens.h"
#include "text/tokenizer_spec.h"

namespace marlin {

// null for an empty text, else an object. `where` names the file of the tokenizer. Errors: kInput.
Result<nlohmann::json> ParseTokenizerConfig(std::string_view text, std::string_view where);

// The configuration has the last word on BOS. Errors: kInput (broken), kUnsupported (what it says about the tokens of a
// text differs from what `spec` does).
Status ApplyTokenizerConfig(const nlohmann::json& config, std::string_view where, TokenizerSpec& spec);

// Adds the tokens of "added_tokens_decoder", or sets the flags of those that are there. Errors: kInput, kUnsupported
// (an unknown member).
Status ApplyAddedTokensDecoder(const nlohmann::json& config, std::string_view where, TokenizerSpec& spec);

// An added token as tokenizer.json and tokenizer_config.json describe it; the id is left to the caller. Errors: kInput,
// kUnsupported (an unknown member).
Result<AddedToken> ReadAddedToken(const nlohmann::json& entry, std::string_view where);

}  // namespace marlin
