// Byte-level BPE, a kind of tokenization: as data, and the functions that each kind has of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "text/bpe.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_hasher.h"
#include "text/vocabulary.h"

namespace marlin {

struct ByteLevelBpe {
  static constexpr std::string_view kName = "byte-level BPE";  // for people
  bool nfc = false;                                            // text is normalized to NFC first
  std::vector<PreTokenizerStep> steps;
  std::vector<std::string> vocabulary;  // by id, spelled in the byte alphabet
  std::vector<BpeMerge> merges;         // by rank
  bool ignore_merges = false;           // a word of the vocabulary is taken whole
};

// `index` is of the vocabulary. Errors: kUnsupported (printable ASCII without a token, which Encode would lose).
Status CheckKind(const ByteLevelBpe& kind, const VocabularyIndex& index, std::string_view where);

// Everything that decides what the encoder does.
void HashKind(const ByteLevelBpe& kind, TokenizerHasher& hasher);

// The bytes that an id of the vocabulary stands for.
std::string BytesOf(const ByteLevelBpe& kind, std::size_t id);

class ByteLevelBpeEncoder {
 public:
  ByteLevelBpeEncoder(bool nfc, PreTokenizer pre_tokenizer, Bpe bpe)
      : nfc_(nfc), pre_tokenizer_(std::move(pre_tokenizer)), bpe_(std::move(bpe)) {}

  // The text as added tokens and words are searched in it; nothing where it stays as it is.
  std::optional<std::string> Normalize(std::string_view text) const;

  // Encodes one text, piece by piece. The ids of words seen before are copied.
  class Encoding {
   public:
    // Both outlive this object. Others may append to `ids` too.
    Encoding(const ByteLevelBpeEncoder& encoder, std::vector<std::int32_t>& ids) : encoder_(encoder), ids_(ids) {}

    // Appends the ids of a piece, which is normalized and outlives this object. Errors: those of PreTokenizer::Split;
    // kUnsupported (a word that is too long).
    Status Add(std::string_view text);

   private:
    struct Span {
      std::size_t begin;
      std::size_t size;
    };

    void AddWord(std::string_view word);

    const ByteLevelBpeEncoder& encoder_;
    std::vector<std::int32_t>& ids_;
    Regex::Workspace regex_;
    Bpe::Workspace workspace_;
    std::deque<std::string> kept_;  // stable addresses: words and cache keys point into it
    std::vector<std::string_view> words_;
    std::unordered_map<std::string_view, Span> cache_;  // places in ids_
  };

 private:
  bool nfc_;
  PreTokenizer pre_tokenizer_;
  Bpe bpe_;
};

// `index` is of the vocabulary. Errors: those of PreTokenizer::Create.
Result<ByteLevelBpeEncoder> EncoderOf(const ByteLevelBpe& kind, const VocabularyIndex& index);

// A byte that can occur in UTF-8 text but has no token; nothing when there is none.
std::optional<int> MissingByte(const VocabularyIndex& index);

}  // namespace marlin
