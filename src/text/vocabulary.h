// The vocabulary of a tokenizer and the merges that name its tokens, checked while they are read.
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
#include "text/bpe.h"

namespace marlin {

// kInput, for a tokenizer that contradicts itself; `where` names the file.
Error BrokenTokenizer(std::string_view where, std::string_view what);

// kUnsupported, for a word of more bytes than an encoder takes.
Error TooLongWord(std::size_t bytes, std::size_t longest_bytes);

// Spelling -> id.
using VocabularyIndex = std::unordered_map<std::string_view, std::int32_t>;

// Errors: kInput when two ids have one spelling, naming both.
Result<VocabularyIndex> IndexVocabulary(const std::vector<std::string>& vocabulary, std::string_view where);

// The two halves of "a b"; nothing unless there is exactly one space, with text on both sides.
std::optional<std::pair<std::string_view, std::string_view>> HalvesOfMerge(std::string_view merge);

// Errors: kInput when a half or their concatenation is not in the vocabulary, naming rank and spelling.
Result<BpeMerge> ResolveMerge(const VocabularyIndex& index, std::string_view left, std::string_view right,
                              std::size_t rank, std::string_view where);

// The id of each byte's token "<0x41>"; -1 where the vocabulary has none.
std::array<std::int32_t, 256> ByteFallbackIds(const VocabularyIndex& index);

// The byte that "<0x41>" spells; nothing for another text.
std::optional<char> ByteOfFallback(std::string_view token);

}  // namespace marlin
