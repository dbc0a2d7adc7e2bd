// Writes a tokenizer as the metadata of a GGUF file: the other direction of tokenizer_gguf.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "files/gguf_pairs.h"
#include "text/tokenizer_spec.h"

namespace marlin {

struct GgufTokenizerOptions {
  std::size_t rows = 0;            // of the embedding; a token without a word is called "[PAD7]"
  std::vector<std::int32_t> ends;  // tokens that end a text beside the tokenizer's own
  std::string chat_template;       // empty = none
  bool prefers_merges = false;     // of a SentencePiece-style BPE: merges instead of scores (Gemma 4)
};

// Adds the keys. `notes` gets a sentence for each thing that the file cannot say and that changes no token of plain
// text. Errors: kUnsupported (a kind of tokenizer, a normalizer or a pre-tokenizer that GGUF has no name for, more
// tokens than rows), naming it. `where` names the model.
Status AddTokenizer(const TokenizerSpec& spec, const GgufTokenizerOptions& options, std::string_view where,
                    GgufPairs& pairs, std::vector<std::string>& notes);

}  // namespace marlin
