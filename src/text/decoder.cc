#include "text/decoder.h"

#include "text/byte_alphabet.h"
#include "text/vocabulary.h"

namespace marlin {
namespace {

void ReplaceAll(std::string& text, std::string_view pattern, std::string_view content) {
  if (pattern.empty()) return;
  for (std::size_t at = text.find(pattern); at != std::string::npos; at = text.find(pattern, at + content.size())) {
    text.replace(at, pattern.size(), content);
  }
}

// Removes up to `start` and `stop` characters from the ends.
void StripEnds(std::string& text, const DecodeStripStep& step) {
  if (step.content.empty()) return;
  for (int i = 0; i < step.start && text.starts_with(step.content); ++i) text.erase(0, step.content.size());
  for (int i = 0; i < step.stop && text.ends_with(step.content); ++i) text.resize(text.size() - step.content.size());
}

}  // namespace

std::string DecodeToken(std::span<const DecoderStep> steps, std::string_view token) {
  std::string text(token);
  bool fused = false;
  for (const DecoderStep& step : steps) {
    if (const auto* replace = std::get_if<DecodeReplaceStep>(&step)) {
      ReplaceAll(text, replace->pattern, replace->content);
    } else if (std::holds_alternative<ByteFallbackStep>(step)) {
      if (const auto byte = ByteOfFallback(text)) text = std::string(1, *byte);
    } else if (std::holds_alternative<FuseStep>(step)) {
      fused = true;  // what follows is about the whole text
    } else if (const auto* strip = std::get_if<DecodeStripStep>(&step)) {
      if (!fused) StripEnds(text, *strip);
    } else if (std::holds_alternative<DecodeByteLevelStep>(step)) {
      text = FromByteAlphabet(text).value_or(text);
    } else {
      ReplaceAll(text, std::get<DecodeMetaspaceStep>(step).of.replacement, " ");
    }
  }
  return text;
}

}  // namespace marlin
