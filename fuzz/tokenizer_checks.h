// What every tokenizer promises, whatever file it comes from.
#pragma once

#include <string_view>

#include "fuzz/targets.h"
#include "text/tokenizer.h"

namespace marlin {

// Encodes a text that may be anything, and reads what the tokenizer writes for Hugging Face tokenizers again.
inline Status CheckTokenizer(const Tokenizer& tokenizer, std::string_view text) {
  const auto again =
      Tokenizer::FromHuggingFace(tokenizer.ToHuggingFaceJson(), tokenizer.ToHuggingFaceConfigJson(), "again");
  MARLIN_CHECK(again.ok() && again->sha256() == tokenizer.sha256(), "what was written is the same tokenizer");
  const auto ids = tokenizer.Encode(text, true);
  if (!ids) return ids.error();
  for (const std::int32_t id : *ids) {
    MARLIN_CHECK(id >= 0 && static_cast<std::size_t>(id) < tokenizer.vocab_size(), "an id that there is");
  }
  const auto same = again->Encode(text, true);
  MARLIN_CHECK(same.ok() && *same == *ids, "equal hash, equal ids");
  tokenizer.Decode(*ids);
  return {};
}

}  // namespace marlin
