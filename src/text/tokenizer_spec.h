// A tokenizer as data, independent of the file format. The readers fill it, Tokenizer runs it, tokenizer_json.h writes
// it. A kind of tokenization is an alternative of Tokenization: a struct with a name and a vocabulary (spellings by id)
// in a file of its own, with the functions that byte_level_bpe.h has. The compiler names the places that want them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "text/added_tokens.h"
#include "text/byte_level_bpe.h"
#include "text/character_bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/unigram.h"
#include "text/vocabulary.h"

namespace marlin {

using Tokenization = std::variant<ByteLevelBpe, CharacterBpe, Unigram>;

struct TokenizerSpec {
  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pre_tokenizer;
  Tokenization kind;
  std::vector<DecoderStep> decoder;  // byte-level BPE needs none
  std::vector<AddedToken> added;     // ids inside the vocabulary, or following it without a gap

  bool adds_bos = false;
  std::vector<std::int32_t> before_bos;  // put in front together with BOS
  std::int32_t bos = -1;
  std::int32_t eos = -1;
  std::int32_t unknown = -1;  // carried along; Encode never gives it
  std::int32_t padding = -1;
  std::string chat_template;

  const std::vector<std::string>& vocabulary() const;  // of the kind
  std::size_t size() const;                            // ids are below this
  std::string_view Text(std::int32_t id) const;        // content of an added token, else the vocabulary's spelling
};

// The checks that do not depend on the file format; `index` is of spec.vocabulary(). Errors: those of CheckKind; kInput
// (ids of added tokens and of the named ones), kUnsupported (added tokens longer than the search takes).
Status CheckSpec(const TokenizerSpec& spec, const VocabularyIndex& index, std::string_view where);

// SHA-256 over everything that decides Encode.
std::string HashOfSpec(const TokenizerSpec& spec);

}  // namespace marlin
