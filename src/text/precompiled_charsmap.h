// SentencePiece's precompiled_charsmap: rules that replace sequences of characters, compiled to a double-array trie.
// Used as the normalizer "Precompiled" of Hugging Face tokenizers uses it, which differs from SentencePiece: it looks
// up whole grapheme clusters of fewer than six bytes, then single characters, and takes the shortest rule that fits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace marlin {

class PrecompiledCharsmap {
 public:
  // `bytes`: size of the trie (little-endian, 32 bits), the trie's units (32 bits each), replacements that end with a
  // byte 0. Errors: kInput (sizes that do not fit, a replacement that is not UTF-8).
  static Result<PrecompiledCharsmap> Read(std::string_view bytes);

  // `text` is well-formed UTF-8.
  std::string Normalize(std::string_view text) const;

 private:
  // The replacement of the shortest beginning of `chunk` that has a rule.
  std::optional<std::string_view> Lookup(std::string_view chunk) const;

  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

}  // namespace marlin
