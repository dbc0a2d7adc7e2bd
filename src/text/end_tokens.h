// The tokens that end a text, as all files of a model name them.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace marlin {

struct Checkpoint;
class Tokenizer;

// Of eos_token_id (a token or a list) in config.json and generation_config.json, and of eos_token in the tokenizer's
// files; of a GGUF the ids of its keys eos, eot and eom. Rising, each once; empty when none is named.
// Errors: kInput (an entry that is no token, naming file, key, got, want).
Result<std::vector<std::int32_t>> EndTokens(const Checkpoint& checkpoint, const Tokenizer& tokenizer);

}  // namespace marlin
