// Byte-level BPE, a kind of tokenization: as data, and the functions that each kind has of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_hasher.h"
#include "text/vocabulary.h"

namespace marlin {

struct ByteLevelBpe {
  static constexpr std::string_view kName = "byte-level BPE";  // for people
  static constexpr PreTokenizer::Bytes kBytes = PreTokenizer::Bytes::kRaw;
  std::vector<std::string> vocabulary;  // by id, spelled in the byte alphabet
  std::vector<BpeMerge> merges;         // by rank
  bool ignore_merges = false;           // a word of the vocabulary is taken whole
};

// `index` is of the vocabulary. Errors: kUnsupported (printable ASCII without a token, which Encode would lose).
Status CheckKind(const ByteLevelBpe& kind, const VocabularyIndex& index, std::string_view where);

// Everything that decides what the encoder does. For the first kind, the steps before the model stand inside;
// HashOfSpec has the order.
void HashKind(const ByteLevelBpe& kind, TokenizerHasher& hasher);

// The bytes that an id of the vocabulary stands for.
std::string BytesOf(const ByteLevelBpe& kind, std::span<const DecoderStep> decoder, std::size_t id);

class ByteLevelBpeEncoder {
 public:
  using Workspace = Bpe::Workspace;

  explicit ByteLevelBpeEncoder(Bpe bpe) : bpe_(std::move(bpe)) {}

  // Replaces words by parts whose ids, one after the other, are the ids of the words.
  void Divide(std::vector<std::string_view>&) const {}

  // Appends the ids of a word. Errors: kUnsupported (a word that is too long).
  Status Encode(std::string_view word, Workspace& workspace, std::vector<std::int32_t>& ids) const;

 private:
  Bpe bpe_;
};

// `index` is of the vocabulary.
ByteLevelBpeEncoder EncoderOf(const ByteLevelBpe& kind, const VocabularyIndex& index);

// A byte that can occur in UTF-8 text but has no token; nothing when there is none.
std::optional<int> MissingByte(const VocabularyIndex& index);

}  // namespace marlin
