// A byte-level BPE tokenizer as data, independent of the file format. The readers fill it, Tokenizer runs it,
// tokenizer_json.h writes it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "io/added_tokens.h"
#include "io/bpe.h"
#include "io/pre_tokenizer.h"

namespace marlin {

struct TokenizerSpec {
  bool nfc = false;  // text is normalized to NFC first
  std::vector<PreTokenizerStep> steps;
  std::vector<std::string> vocabulary;  // by id, spelled in the byte alphabet
  std::vector<BpeMerge> merges;         // by rank
  bool ignore_merges = false;           // a word of the vocabulary is taken whole
  std::vector<AddedToken> added;        // ids inside the vocabulary, or following it without a gap

  bool adds_bos = false;
  std::int32_t bos = -1;
  std::int32_t eos = -1;
  std::int32_t unknown = -1;  // carried along; Encode never gives it
  std::int32_t padding = -1;
  std::string chat_template;

  std::size_t size() const;                      // ids are below this
  std::string_view Text(std::int32_t id) const;  // content of an added token, else the vocabulary's spelling
};

// kInput, for a tokenizer that contradicts itself; `where` names the file.
Error BrokenTokenizer(std::string_view where, std::string_view what);

// Spelling -> id.
using VocabularyIndex = std::unordered_map<std::string_view, std::int32_t>;

// Errors: kInput when two ids have one spelling, naming both.
Result<VocabularyIndex> IndexVocabulary(const std::vector<std::string>& vocabulary, std::string_view where);

// The two halves of "a b"; nothing unless there is exactly one space, with text on both sides.
std::optional<std::pair<std::string_view, std::string_view>> HalvesOfMerge(std::string_view merge);

// Errors: kInput when a half or their concatenation is not in the vocabulary, naming rank and spelling.
Result<BpeMerge> ResolveMerge(const VocabularyIndex& index, std::string_view left, std::string_view right,
                              std::size_t rank, std::string_view where);

// The checks that do not depend on the file format; `index` is of spec.vocabulary. Errors: kInput (ids of added tokens
// and of the named ones), kUnsupported (added tokens longer than the search takes; printable ASCII without a token,
// which Encode would lose).
Status CheckSpec(const TokenizerSpec& spec, const VocabularyIndex& index, std::string_view where);

// SHA-256 over everything that decides Encode.
std::string HashOfSpec(const TokenizerSpec& spec);

// id of each byte's token; -1 where the vocabulary has none.
std::array<std::int32_t, 256> ByteIds(const VocabularyIndex& index);

// A byte that can occur in UTF-8 text but has no token; nothing when there is none.
std::optional<int> MissingByte(const VocabularyIndex& index);

}  // namespace marlin
