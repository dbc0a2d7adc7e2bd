#include "text/byte_level_bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "text/byte_alphabet.h"

namespace marlin {
namespace {

bool OccursInUtf8(int byte) { return byte < 0xc0 || (byte >= 0xc2 && byte <= 0xf4); }

// id of each byte's token; -1 where the vocabulary has none.
std::array<std::int32_t, 256> ByteIds(const VocabularyIndex& index) {
  std::array<std::int32_t, 256> ids{};
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = index.find(ToByteAlphabet(std::string(1, static_cast<char>(byte))));
    ids[static_cast<std::size_t>(byte)] = found == index.end() ? -1 : found->second;
  }
  return ids;
}

}  // namespace

Status CheckKind(const ByteLevelBpe&, const VocabularyIndex& index, std::string_view where) {
  const auto byte_ids = ByteIds(index);
  const auto lost = std::find(byte_ids.begin() + ' ', byte_ids.begin() + '~' + 1, -1);
  if (lost == byte_ids.begin() + '~' + 1) return {};
  return Error{
      ErrorCode::kUnsupported,
      fmt::format("{}: the vocabulary has no token for the byte 0x{:02x}; a byte-level vocabulary has them all", where,
                  lost - byte_ids.begin())};
}

void HashKind(const ByteLevelBpe& kind, TokenizerHasher& hasher) {
  hasher.Number(static_cast<std::int64_t>(kind.vocabulary.size()));
  for (const std::string& token : kind.vocabulary) hasher.Text(token);
  hasher.Number(static_cast<std::int64_t>(kind.merges.size()));
  for (const BpeMerge& merge : kind.merges) {
    hasher.Number(merge.left);
    hasher.Number(merge.right);
  }
}

std::string BytesOf(const ByteLevelBpe& kind, std::span<const DecoderStep>, std::size_t id) {
  return FromByteAlphabet(kind.vocabulary[id]).value_or(kind.vocabulary[id]);
}

Status ByteLevelBpeEncoder::Encode(std::string_view word, Workspace& workspace, std::vector<std::int32_t>& ids) const {
  if (word.size() > Bpe::kLongestWord_bytes) return TooLongWord(word.size(), Bpe::kLongestWord_bytes);
  bpe_.Encode(word, workspace, ids);
  return {};
}

ByteLevelBpeEncoder EncoderOf(const ByteLevelBpe& kind, const VocabularyIndex& index) {
  BpeModel model{ByteIds(index), kind.merges, {}};
  if (kind.ignore_merges) {
    for (std::size_t id = 0; id < kind.vocabulary.size(); ++id) {
      const auto bytes = FromByteAlphabet(kind.vocabulary[id]);
      if (bytes) model.whole_words.emplace(*bytes, static_cast<std::int32_t>(id));
    }
  }
  return ByteLevelBpeEncoder(Bpe(std::move(model)));
}

std::optional<int> MissingByte(const VocabularyIndex& index) {
  const auto ids = ByteIds(index);
  for (int byte = 0; byte < 256; ++byte) {
    if (OccursInUtf8(byte) && ids[static_cast<std::size_t>(byte)] < 0) return byte;
  }
  return std::nullopt;
}

}  // namespace marlin
