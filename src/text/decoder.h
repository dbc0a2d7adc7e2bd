// From ids to text: the steps of tokenizer.json's "decoder" as far as they say what bytes a token stands for. Steps
// that look at a whole text (Fuse, Strip) are kept for writing tokenizer.json.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/pre_tokenizer.h"

namespace marlin {

struct DecodeReplaceStep {
  std::string pattern;  // a literal
  std::string content;
};
struct ByteFallbackStep {};  // "<0x41>" is the byte 0x41
struct FuseStep {};
struct DecodeStripStep {
  std::string content;  // one character
  int start = 0;
  int stop = 0;
};
struct DecodeByteLevelStep {};
struct DecodeMetaspaceStep {
  MetaspaceStep of;
};
using DecoderStep = std::variant<DecodeReplaceStep, ByteFallbackStep, FuseStep, DecodeStripStep, DecodeByteLevelStep,
                                 DecodeMetaspaceStep>;

// The bytes of one token, inside a text.
std::string DecodeToken(std::span<const DecoderStep> steps, std::string_view token);

}  // namespace marlin
