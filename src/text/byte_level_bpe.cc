#include "text/byte_level_bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "text/byte_alphabet.h"
#include "text/unicode.h"

namespace marlin {
namespace {

constexpr std::size_t kLongestCachedWord_bytes = 64;
constexpr std::size_t kMostCachedWords = std::size_t{1} << 18;  // about 20 MB

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

struct StepHasher {
  TokenizerHasher& hasher;

  void operator()(const SplitStep& step) const {
    hasher.Text("split");
    hasher.Text(step.pattern);
    hasher.Number(static_cast<int>(step.behavior));
    hasher.Number(step.invert);
  }
  void operator()(const DigitsStep& step) const {
    hasher.Text("digits");
    hasher.Number(step.individual);
  }
  void operator()(const ByteLevelStep& step) const {
    hasher.Text("bytes");
    hasher.Number(step.add_prefix_space);
    hasher.Number(step.use_regex);
  }
};

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
  hasher.Text("marlin byte-level bpe 1");
  hasher.Number(kind.nfc);
  hasher.Number(kind.ignore_merges);
  hasher.Number(static_cast<std::int64_t>(kind.steps.size()));
  for (const PreTokenizerStep& step : kind.steps) std::visit(StepHasher{hasher}, step);
  hasher.Number(static_cast<std::int64_t>(kind.vocabulary.size()));
  for (const std::string& token : kind.vocabulary) hasher.Text(token);
  hasher.Number(static_cast<std::int64_t>(kind.merges.size()));
  for (const BpeMerge& merge : kind.merges) {
    hasher.Number(merge.left);
    hasher.Number(merge.right);
  }
}

std::string BytesOf(const ByteLevelBpe& kind, std::size_t id) {
  return FromByteAlphabet(kind.vocabulary[id]).value_or(kind.vocabulary[id]);
}

std::optional<std::string> ByteLevelBpeEncoder::Normalize(std::string_view text) const {
  if (!nfc_) return std::nullopt;
  return NormalizeNfc(text);
}

Status ByteLevelBpeEncoder::Encoding::Add(std::string_view text) {
  std::string& storage = kept_.emplace_back();
  if (auto status = encoder_.pre_tokenizer_.Split(text, regex_, storage, words_); !status) return status;
  if (storage.empty()) kept_.pop_back();
  for (const std::string_view word : words_) {
    if (word.size() > Bpe::kLongestWord_bytes) {
      return Error{ErrorCode::kUnsupported, fmt::format("a word of {} bytes; the longest supported has {}", word.size(),
                                                        Bpe::kLongestWord_bytes)};
    }
    AddWord(word);
  }
  return {};
}

void ByteLevelBpeEncoder::Encoding::AddWord(std::string_view word) {
  if (word.size() > kLongestCachedWord_bytes) return encoder_.bpe_.Encode(word, workspace_, ids_);
  if (cache_.size() >= kMostCachedWords) cache_.clear();
  const auto [entry, is_new] = cache_.try_emplace(word, Span{ids_.size(), 0});
  if (is_new) {
    encoder_.bpe_.Encode(word, workspace_, ids_);
    entry->second.size = ids_.size() - entry->second.begin;
    return;
  }
  for (std::size_t i = 0; i < entry->second.size; ++i) {
    const std::int32_t id = ids_[entry->second.begin + i];
    ids_.push_back(id);
  }
}

Result<ByteLevelBpeEncoder> EncoderOf(const ByteLevelBpe& kind, const VocabularyIndex& index) {
  auto pre_tokenizer = PreTokenizer::Create(kind.steps);
  if (!pre_tokenizer) return pre_tokenizer.error();
  BpeModel model{ByteIds(index), kind.merges, {}};
  if (kind.ignore_merges) {
    for (std::size_t id = 0; id < kind.vocabulary.size(); ++id) {
      const auto bytes = FromByteAlphabet(kind.vocabulary[id]);
      if (bytes) model.whole_words.emplace(*bytes, static_cast<std::int32_t>(id));
    }
  }
  return ByteLevelBpeEncoder(kind.nfc, std::move(*pre_tokenizer), Bpe(std::move(model)));
}

std::optional<int> MissingByte(const VocabularyIndex& index) {
  const auto ids = ByteIds(index);
  for (int byte = 0; byte < 256; ++byte) {
    if (OccursInUtf8(byte) && ids[static_cast<std::size_t>(byte)] < 0) return byte;
  }
  return std::nullopt;
}

}  // namespace marlin
