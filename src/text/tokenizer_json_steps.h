// The parts "normalizer", "pre_tokenizer" and "decoder" of tokenizer.json, in both directions. Each is a step or a
// Sequence of steps.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"

namespace marlin {

// null is no step. Errors: kInput (broken), kUnsupported (a step or a member that this program does not know).
Result<std::vector<NormalizerStep>> ReadNormalizer(const nlohmann::json& part, std::string_view where);
Result<std::vector<PreTokenizerStep>> ReadPreTokenizer(const nlohmann::json& part, std::string_view where);
Result<std::vector<DecoderStep>> ReadDecoder(const nlohmann::json& part, std::string_view where);

nlohmann::json NormalizerJson(const std::vector<NormalizerStep>& steps);
nlohmann::json PreTokenizerJson(const std::vector<PreTokenizerStep>& steps);
nlohmann::json DecoderJson(const std::vector<DecoderStep>& steps);
nlohmann::json ByteLevelJson(const ByteLevelStep& step);

}  // namespace marlin
