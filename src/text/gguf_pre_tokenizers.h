// The pre-tokenizers that GGUF files name (tokenizer.ggml.pre) instead of describing them. Each row says what the
// tokenizer.json of the model family says.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/normalizer.h"
#include "text/pre_tokenizer.h"

namespace marlin {

struct GgufPreTokenizer {
  std::string_view name;
  std::vector<PreTokenizerStep> (*steps)();
  bool nfc = false;
  bool ignore_merges = false;
  bool adds_bos = false;  // unless the file says otherwise
};

// nullptr for an unknown name.
const GgufPreTokenizer* FindGgufPreTokenizer(std::string_view name);

// The row that does the same as these steps; the first one of several, which differ in nothing that decides tokens.
// nullptr when there is none.
const GgufPreTokenizer* FindGgufPreTokenizer(const std::vector<PreTokenizerStep>& steps, bool nfc, bool ignore_merges);

// All names, for messages.
std::string GgufPreTokenizerNames();

}  // namespace marlin
