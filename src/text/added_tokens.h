// Special tokens and other added tokens, which are searched in the text before it is divided into words.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/byte_trie.h"

namespace marlin {

struct AddedToken {
  std::string content;
  std::int32_t id = -1;
  bool special = false;      // found only when the caller asks for special tokens
  bool normalized = false;   // matched after the normalizer ran over the text
  bool single_word = false;  // not inside a word
  bool lstrip = false;       // swallows white space before it
  bool rstrip = false;       // swallows white space after it
};

// Finds the longest token at the leftmost place, then goes on behind it: a candidate that is then refused (special,
// single_word) still hides shorter ones at its place, as in Hugging Face tokenizers.
class AddedTokenMatcher {
 public:
  static constexpr std::size_t kLongest_bytes = 1024;  // keeps the search at O(text * 1024)

  // Contents are not empty and not longer than kLongest_bytes.
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  struct Piece {
    std::string_view text;
    std::int32_t id = -1;  // -1 = text like any other
  };
  // The text in pieces, none of them empty.
  std::vector<Piece> Split(std::string_view text, bool parse_special) const;

 private:
  const AddedToken* LongestAt(std::string_view text, std::size_t position) const;

  std::vector<AddedToken> tokens_;
  ByteTrie trie_;                         // to positions in tokens_
  std::array<bool, 256> begins_token_{};  // by first byte
};

}  // namespace marlin
