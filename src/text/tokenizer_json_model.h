// The part "model" of tokenizer.json.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_spec.h"

namespace marlin {

// BPE whose last pre-tokenizer, and no other, is ByteLevel is byte-level BPE; other BPE is one of characters.
// Errors: kInput (broken), kUnsupported (another type of model, options that would change ids).
Result<Tokenization> ReadModel(const nlohmann::json& model, const std::vector<PreTokenizerStep>& steps,
                               std::string_view where);

// Printed by hand: in the order of the ids, which a json object would not keep.
std::string ModelJson(const ByteLevelBpe& kind);
std::string ModelJson(const CharacterBpe& kind);
std::string ModelJson(const Unigram& kind);

}  // namespace marlin
