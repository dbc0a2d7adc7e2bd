// SentencePiece's unigram language model, a kind of tokenization: of all ways to divide a word into tokens the one with
// the greatest sum of scores, as Hugging Face tokenizers computes it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/byte_trie.h"
#include "text/decoder.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_hasher.h"
#include "text/vocabulary.h"

namespace marlin {

struct Unigram {
  static constexpr std::string_view kName = "unigram";
  static constexpr PreTokenizer::Bytes kBytes = PreTokenizer::Bytes::kSpelled;
  std::vector<std::string> vocabulary;  // by id
  std::vector<double> scores;           // by id: logarithms of probabilities
  std::int32_t unknown = -1;            // -1 = a character without a token is an error
  bool byte_fallback = false;
};

// Errors: kInput (scores that are not finite, an unknown token that is none).
Status CheckKind(const Unigram& kind, const VocabularyIndex& index, std::string_view where);
void HashKind(const Unigram& kind, TokenizerHasher& hasher);
std::string BytesOf(const Unigram& kind, std::span<const DecoderStep> decoder, std::size_t id);

class UnigramEncoder {
 public:
  // The best way to reach a place in the word.
  struct Step {
    double score = 0;
    std::uint32_t begin = 0;
    std::int32_t id = -1;  // -1 = not reached
  };
  struct Workspace {
    std::vector<Step> best;
    std::vector<std::uint32_t> ends;  // of the tokens, last first
  };
  static constexpr std::size_t kLongestWord_bytes = 0xfffffffe;

  UnigramEncoder(const Unigram& kind, const VocabularyIndex& index);

  // Sums of scores begin at the beginning of a word, so words stay whole.
  void Divide(std::vector<std::string_view>&) const {}

  // Appends the ids of a word. Time O(n * longest token). Errors: kUnsupported (a word that is too long, a character
  // without a token and no unknown token).
  Status Encode(std::string_view word, Workspace& workspace, std::vector<std::int32_t>& ids) const;

 private:
  Status FindBest(std::string_view word, std::vector<Step>& best) const;
  // Appends the ids of a part of the word that is one token or a run of unknown characters.
  void AddPart(std::string_view part, std::vector<std::int32_t>& ids) const;

  ByteTrie trie_;
  std::vector<double> scores_;
  std::array<std::int32_t, 256> bytes_{};
  double unknown_score_ = 0;
  std::int32_t unknown_;
  bool byte_fallback_;
};

UnigramEncoder EncoderOf(const Unigram& kind, const VocabularyIndex& index);

}  // namespace marlin
