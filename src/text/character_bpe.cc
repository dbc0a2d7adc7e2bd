#include "text/character_bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <tuple>
#include <utility>

#include "text/unicode.h"

namespace marlin {
namespace {

// A token of n characters can be made in n - 1 ways, each of which is looked up.
constexpr std::size_t kLongestMerged_bytes = 4096;

struct ScoredMerge {
  BpeMerge merge;
  float score;
  std::uint32_t left_characters;
  std::uint32_t right_characters;
};

bool IsContinuation(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

// The code point at `i` of well-formed UTF-8, which moves behind it.
char32_t NextCodePoint(std::string_view text, std::size_t& i) {
  const auto first = static_cast<unsigned char>(text[i]);
  if (first < 0x80) {
    ++i;
    return first;
  }
  const auto rest = [&](std::size_t k) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[i + k]) & 0x3f);
  };
  char32_t value = 0;
  if (first < 0xe0) {
    value = (first & 0x1fu) << 6 | rest(1);
    i += 2;
  } else if (first < 0xf0) {
    value = (first & 0x0fu) << 12 | rest(1) << 6 | rest(2);
    i += 3;
  } else {
    value = (first & 0x07u) << 18 | rest(1) << 12 | rest(2) << 6 | rest(3);
    i += 4;
  }
  return value;
}

}  // namespace

Status CheckKind(const CharacterBpe& kind, const VocabularyIndex&, std::string_view where) {
  const auto size = static_cast<std::int64_t>(kind.vocabulary.size());
  if (kind.unknown >= -1 && kind.unknown < size) return {};
  return BrokenTokenizer(where,
                         fmt::format("the unknown token has id {}, but there are {} tokens", kind.unknown, size));
}

void HashKind(const CharacterBpe& kind, TokenizerHasher& hasher) {
  hasher.Text("marlin character bpe 1");
  hasher.Number(kind.unknown);
  for (const bool flag : {kind.fuse_unknown, kind.byte_fallback, kind.ignore_merges}) hasher.Number(flag);
  hasher.Number(static_cast<std::int64_t>(kind.vocabulary.size()));
  for (const std::string& token : kind.vocabulary) hasher.Text(token);
  hasher.Number(static_cast<std::int64_t>(kind.merges.size()));
  for (const BpeMerge& merge : kind.merges) {
    hasher.Number(merge.left);
    hasher.Number(merge.right);
  }
}

std::string BytesOf(const CharacterBpe& kind, std::span<const DecoderStep> decoder, std::size_t id) {
  return DecodeToken(decoder, kind.vocabulary[id]);
}

CharacterBpeEncoder::CharacterBpeEncoder(const CharacterBpe& kind, const VocabularyIndex& index)
    : bytes_(ByteFallbackIds(index)),
      merger_(kind.merges),
      unknown_(kind.unknown),
      fuse_unknown_(kind.fuse_unknown),
      byte_fallback_(kind.byte_fallback),
      ignore_merges_(kind.ignore_merges) {
  const bool has_bytes = byte_fallback_ && std::ranges::find(bytes_, -1) == bytes_.end();
  drops_ = unknown_ < 0 && !has_bytes;
  for (std::size_t id = 0; id < kind.vocabulary.size(); ++id) {
    const std::string& token = kind.vocabulary[id];
    if (ignore_merges_) whole_words_.emplace(token, static_cast<std::int32_t>(id));
    if (token.empty()) continue;
    const CodePoint first = CodePointAt(token, 0);
    if (first.bytes != token.size()) continue;
    if (first.value >= characters_.size()) characters_.resize(first.value + 1, -1);
    characters_[first.value] = static_cast<std::int32_t>(id);
  }
  std::vector<bool> stands_for_text(kind.vocabulary.size(), false);
  if (unknown_ >= 0) stands_for_text[static_cast<std::size_t>(unknown_)] = true;
  for (const std::int32_t id : bytes_) {
    if (byte_fallback_ && id >= 0) stands_for_text[static_cast<std::size_t>(id)] = true;
  }
  for (const BpeMerge& merge : kind.merges) {
    pairs_.AddToken(kind.vocabulary[static_cast<std::size_t>(merge.result)]);
    if (stands_for_text[static_cast<std::size_t>(merge.left)] ||
        stands_for_text[static_cast<std::size_t>(merge.right)]) {
      divisible_ = false;
    }
  }
}

void CharacterBpeEncoder::Divide(std::vector<std::string_view>& words) const {
  if (ignore_merges_ || !divisible_) return;
  std::vector<std::string_view> parts;
  for (const std::string_view word : words) {
    std::size_t begin = 0;
    char32_t left = 0;
    for (std::size_t i = 0; i < word.size();) {
      const std::size_t at = i;
      const char32_t right = NextCodePoint(word, i);
      // A run of unknown characters stays together: it may have one token. Where they are dropped, what stands around
      // them comes together.
      const auto unknown = [&] { return (IdOf(left) < 0) + (IdOf(right) < 0); };
      if (at > 0 && !pairs_.MayJoin(left, right) && unknown() < (drops_ ? 1 : 2)) {
        parts.push_back(word.substr(begin, at - begin));
        begin = at;
      }
      left = right;
    }
    parts.push_back(word.substr(begin));
  }
  words.swap(parts);
}

bool CharacterBpeEncoder::AddBytes(std::string_view bytes, Workspace& workspace) const {
  const auto id = [&](char byte) { return bytes_[static_cast<unsigned char>(byte)]; };
  if (!std::ranges::all_of(bytes, [&](char byte) { return id(byte) >= 0; })) return false;
  for (const char byte : bytes) workspace.Add(id(byte));
  return true;
}

Status CharacterBpeEncoder::Encode(std::string_view word, Workspace& workspace, std::vector<std::int32_t>& ids) const {
  if (word.size() > BpeMerger::kMostSymbols) return TooLongWord(word.size(), BpeMerger::kMostSymbols);
  if (ignore_merges_) {
    if (const auto whole = whole_words_.find(std::string(word)); whole != whole_words_.end()) {
      ids.push_back(whole->second);
      return {};
    }
  }
  workspace.Clear();
  bool pending = false;  // an unknown token that the next unknown character may share
  for (std::size_t i = 0; i < word.size();) {
    const std::size_t at = i;
    const std::int32_t id = IdOf(NextCodePoint(word, i));
    if (id >= 0) {
      if (pending) workspace.Add(unknown_);
      pending = false;
      workspace.Add(id);
    } else if (!byte_fallback_ || !AddBytes(word.substr(at, i - at), workspace)) {
      if (pending && !fuse_unknown_) workspace.Add(unknown_);
      pending = unknown_ >= 0;
    }
  }
  if (pending) workspace.Add(unknown_);
  merger_.Merge(workspace, ids);
  return {};
}

CharacterBpeEncoder EncoderOf(const CharacterBpe& kind, const VocabularyIndex& index) { return {kind, index}; }

Result<std::vector<BpeMerge>> MergesFromScores(const std::vector<std::string>& vocabulary,
                                               const std::vector<float>& scores, const std::vector<bool>& joins,
                                               MergeWays ways, const VocabularyIndex& index, std::string_view where) {
  std::vector<ScoredMerge> found;
  const auto takes_part = [&](std::string_view text) -> std::int32_t {
    const auto entry = index.find(text);
    return entry == index.end() || !joins[static_cast<std::size_t>(entry->second)] ? -1 : entry->second;
  };
  for (std::size_t id = 0; id < vocabulary.size(); ++id) {
    if (!joins[id]) continue;
    const std::string_view token = vocabulary[id];
    if (token.size() > kLongestMerged_bytes) {
      return BrokenTokenizer(where, fmt::format("token {} has {} bytes; the longest that merges may make has {}", id,
                                                token.size(), kLongestMerged_bytes));
    }
    const auto characters = static_cast<std::uint32_t>(std::ranges::count_if(token, std::not_fn(IsContinuation)));
    const std::size_t first = found.size();
    std::uint32_t left_characters = 0;
    for (std::size_t cut = 1; cut < token.size(); ++cut) {
      if (IsContinuation(token[cut])) continue;
      ++left_characters;
      const std::int32_t left = takes_part(token.substr(0, cut));
      const std::int32_t right = left < 0 ? -1 : takes_part(token.substr(cut));
      if (right < 0) continue;
      found.push_back(
          {{left, right, static_cast<std::int32_t>(id)}, scores[id], left_characters, characters - left_characters});
    }
    std::ranges::sort(found.begin() + static_cast<std::ptrdiff_t>(first), found.end(), {},
                      [](const ScoredMerge& m) { return std::pair(m.merge.left, m.merge.right); });
  }
  std::ranges::stable_sort(found, std::greater<>(), [&](const ScoredMerge& m) {
    return ways == MergeWays::kLowerIdsFirst ? std::tuple(m.score, 0u, 0u)
                                             : std::tuple(m.score, m.left_characters, m.right_characters);
  });
  std::vector<BpeMerge> merges;
  merges.reserve(found.size());
  for (const ScoredMerge& m : found) merges.push_back(m.merge);
  return merges;
}

}  // namespace marlin
