// BPE that starts from characters, as SentencePiece trains it: a kind of tokenization. Characters without a token
// become their bytes, where the vocabulary has tokens for bytes, or the unknown token.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/joinable_pairs.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_hasher.h"
#include "text/vocabulary.h"

namespace marlin {

struct CharacterBpe {
  static constexpr std::string_view kName = "SentencePiece-style BPE";
  static constexpr PreTokenizer::Bytes kBytes = PreTokenizer::Bytes::kSpelled;
  std::vector<std::string> vocabulary;  // by id
  std::vector<BpeMerge> merges;         // by rank
  std::int32_t unknown = -1;            // -1 = characters without a token are dropped
  bool fuse_unknown = false;            // one unknown token for a run of unknown characters
  bool byte_fallback = false;
  bool ignore_merges = false;  // a word of the vocabulary is taken whole
};

// Errors: kInput (an unknown token that is none).
Status CheckKind(const CharacterBpe& kind, const VocabularyIndex& index, std::string_view where);
void HashKind(const CharacterBpe& kind, TokenizerHasher& hasher);
std::string BytesOf(const CharacterBpe& kind, std::span<const DecoderStep> decoder, std::size_t id);

class CharacterBpeEncoder {
 public:
  using Workspace = BpeMerger::Workspace;

  CharacterBpeEncoder(const CharacterBpe& kind, const VocabularyIndex& index);

  // Cuts between characters that no token joins: no merge goes across.
  void Divide(std::vector<std::string_view>& words) const;

  // Appends the ids of a word. Errors: kUnsupported (a word that is too long).
  Status Encode(std::string_view word, Workspace& workspace, std::vector<std::int32_t>& ids) const;

 private:
  std::int32_t IdOf(char32_t character) const { return character < characters_.size() ? characters_[character] : -1; }
  // Adds the tokens of the bytes, if every byte has one.
  bool AddBytes(std::string_view bytes, Workspace& workspace) const;

  std::vector<std::int32_t> characters_;  // by code point; -1 = no token
  std::array<std::int32_t, 256> bytes_{};
  BpeMerger merger_;
  JoinablePairs pairs_;
  std::int32_t unknown_;
  bool fuse_unknown_;
  bool byte_fallback_;
  bool ignore_merges_;
  bool drops_ = false;     // characters without a token vanish
  bool divisible_ = true;  // tokens of bytes and the unknown token take part in no merge
  std::unordered_map<std::string, std::int32_t> whole_words_;  // only with ignore_merges
};

CharacterBpeEncoder EncoderOf(const CharacterBpe& kind, const VocabularyIndex& index);

enum class MergeWays {
  kLongerLeftFirst,  // as converters of SentencePiece's models order them
  kLowerIdsFirst,    // as converters of tiktoken's vocabularies do
};

// The merges of a vocabulary that has scores instead, as SentencePiece applies them: every way to make a token of two
// others, in the order of the score of the token, best first; then the ways to make one token as `ways` says. `joins`
// says which tokens take part. Errors: kInput (a token with too many characters).
Result<std::vector<BpeMerge>> MergesFromScores(const std::vector<std::string>& vocabulary,
                                               const std::vector<float>& scores, const std::vector<bool>& joins,
                                               MergeWays ways, const VocabularyIndex& index, std::string_view where);

}  // namespace marlin
