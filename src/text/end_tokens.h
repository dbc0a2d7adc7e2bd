// The tokens that end a text, as all files of a model name them.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace marlin {

struct Checkpoint;
class Tokenizer;

// Checks eos_token_id of config.json (or of a GGUF's metadata) and generation_config.json: a token or a list of tokens.
// Errors: kInput (naming file, key, got, want).
Status CheckEndTokens(const Checkpoint& checkpoint);

// Of eos_token_id (a token or a list) in config.json and generation_config.json, and of eos_token in the tokenizer's
// files; of a GGUF the ids of its keys eos, eot and eom, and its
// list of ends. Rising, each once; empty when none is named.
// Errors: as CheckEndTokens.
Result<std::vector<std::int32_t>> EndTokens(const Checkpoint& checkpoint, const Tokenizer& tokenizer);

}  // namespace marlin
