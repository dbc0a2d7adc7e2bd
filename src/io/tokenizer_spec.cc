#include "io/tokenizer_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/sha256.h"
#include "io/byte_alphabet.h"

namespace marlin {
namespace {

constexpr std::size_t kMostIds = std::size_t{1} << 24;

bool OccursInUtf8(int byte) { return byte < 0xc0 || (byte >= 0xc2 && byte <= 0xf4); }

// Feeds values so that different sequences never give the same bytes.
class Hasher {
 public:
  void Number(std::int64_t value) { hash_.Update(fmt::format("{};", value)); }
  void Text(std::string_view text) {
    Number(static_cast<std::int64_t>(text.size()));
    hash_.Update(text);
  }
  std::string Digest() { return hash_.HexDigest(); }

  void operator()(const SplitStep& step) {
    Text("split");
    Text(step.pattern);
    Number(static_cast<int>(step.behavior));
    Number(step.invert);
  }
  void operator()(const DigitsStep& step) {
    Text("digits");
    Number(step.individual);
  }
  void operator()(const ByteLevelStep& step) {
    Text("bytes");
    Number(step.add_prefix_space);
    Number(step.use_regex);
  }

 private:
  Sha256 hash_;
};

Status CheckAdded(const TokenizerSpec& spec, const VocabularyIndex& index, std::string_view where) {
  auto next = static_cast<std::int32_t>(spec.vocabulary.size());
  std::unordered_map<std::string_view, std::int32_t> contents;
  for (const AddedToken& token : spec.added) {
    if (token.content.empty()) return BrokenTokenizer(where, fmt::format("added token {} is empty", token.id));
    if (token.content.size() > AddedTokenMatcher::kLongest_bytes) {
      return Error{ErrorCode::kUnsupported,
                   fmt::format("{}: added token {} has {} bytes; the longest supported has {}", where, token.id,
                               token.content.size(), AddedTokenMatcher::kLongest_bytes)};
    }
    const auto [other, is_new] = contents.emplace(token.content, token.id);
    if (!is_new) {
      return BrokenTokenizer(
          where, fmt::format("added tokens {} and {} are both \"{}\"", other->second, token.id, token.content));
    }
    const auto known = index.find(token.content);
    const std::int32_t expected = known != index.end() ? known->second : next;
    if (token.id != expected) {
      return BrokenTokenizer(
          where, fmt::format("added token \"{}\" has id {}, but {} is {}", token.content, token.id,
                             known != index.end() ? "its id in the vocabulary" : "the next free id", expected));
    }
    if (known == index.end()) ++next;
  }
  return {};
}

}  // namespace

std::size_t TokenizerSpec::size() const {
  std::size_t size = vocabulary.size();
  for (const AddedToken& token : added) size = std::max(size, static_cast<std::size_t>(token.id) + 1);
  return size;
}

std::string_view TokenizerSpec::Text(std::int32_t id) const {
  if (id >= 0 && static_cast<std::size_t>(id) < vocabulary.size()) return vocabulary[static_cast<std::size_t>(id)];
  for (const AddedToken& token : added) {
    if (token.id == id) return token.content;
  }
  return {};
}

Error BrokenTokenizer(std::string_view where, std::string_view what) {
  return {ErrorCode::kInput, fmt::format("{}: {}", where, what)};
}

Result<VocabularyIndex> IndexVocabulary(const std::vector<std::string>& vocabulary, std::string_view where) {
  if (vocabulary.size() > kMostIds) {
    return BrokenTokenizer(
        where, fmt::format("the vocabulary has {} tokens; no model has more than {}", vocabulary.size(), kMostIds));
  }
  VocabularyIndex index;
  index.reserve(vocabulary.size());
  for (std::size_t id = 0; id < vocabulary.size(); ++id) {
    const auto [other, is_new] = index.emplace(vocabulary[id], static_cast<std::int32_t>(id));
    if (!is_new) {
      return BrokenTokenizer(where, fmt::format("ids {} and {} are both \"{}\"", other->second, id, vocabulary[id]));
    }
  }
  return index;
}

std::optional<std::pair<std::string_view, std::string_view>> HalvesOfMerge(std::string_view merge) {
  const std::size_t space = merge.find(' ');
  if (space == std::string_view::npos || space == 0 || space + 1 == merge.size()) return std::nullopt;
  if (merge.find(' ', space + 1) != std::string_view::npos) return std::nullopt;
  return std::pair(merge.substr(0, space), merge.substr(space + 1));
}

Result<BpeMerge> ResolveMerge(const VocabularyIndex& index, std::string_view left, std::string_view right,
                              std::size_t rank, std::string_view where) {
  const std::string both = std::string(left) + std::string(right);
  BpeMerge merge;
  for (const auto& [text, id] : {std::pair(left, &merge.left), std::pair(right, &merge.right),
                                 std::pair(std::string_view(both), &merge.result)}) {
    const auto found = index.find(text);
    if (found == index.end()) {
      return BrokenTokenizer(
          where, fmt::format("merge {} (\"{}\" + \"{}\") needs the token \"{}\", which the vocabulary lacks", rank,
                             left, right, text));
    }
    *id = found->second;
  }
  return merge;
}

Status CheckSpec(const TokenizerSpec& spec, const VocabularyIndex& index, std::string_view where) {
  const auto byte_ids = ByteIds(index);
  const auto lost = std::find(byte_ids.begin() + ' ', byte_ids.begin() + '~' + 1, -1);
  if (lost != byte_ids.begin() + '~' + 1) {
    return Error{
        ErrorCode::kUnsupported,
        fmt::format("{}: the vocabulary has no token for the byte 0x{:02x}; a byte-level vocabulary has them all",
                    where, lost - byte_ids.begin())};
  }
  if (auto status = CheckAdded(spec, index, where); !status) return status;
  const auto size = static_cast<std::int64_t>(spec.size());
  for (const auto& [name, id] : {std::pair("BOS", spec.bos), std::pair("EOS", spec.eos),
                                 std::pair("unknown", spec.unknown), std::pair("padding", spec.padding)}) {
    if (id < -1 || id >= size) {
      return BrokenTokenizer(where, fmt::format("the {} token has id {}, but there are {} tokens", name, id, size));
    }
  }
  if (spec.adds_bos && spec.bos < 0) {
    return BrokenTokenizer(where, "BOS shall be added to every text, but no BOS token is named");
  }
  return {};
}

std::string HashOfSpec(const TokenizerSpec& spec) {
  Hasher hasher;
  hasher.Text("marlin byte-level bpe 1");
  hasher.Number(spec.nfc);
  hasher.Number(spec.ignore_merges);
  hasher.Number(static_cast<std::int64_t>(spec.steps.size()));
  for (const PreTokenizerStep& step : spec.steps) std::visit(hasher, step);
  hasher.Number(static_cast<std::int64_t>(spec.vocabulary.size()));
  for (const std::string& token : spec.vocabulary) hasher.Text(token);
  hasher.Number(static_cast<std::int64_t>(spec.merges.size()));
  for (const BpeMerge& merge : spec.merges) {
    hasher.Number(merge.left);
    hasher.Number(merge.right);
  }
  for (const AddedToken& token : spec.added) {
    hasher.Number(token.id);
    hasher.Text(token.content);
    for (const bool flag : {token.special, token.normalized, token.single_word, token.lstrip, token.rstrip}) {
      hasher.Number(flag);
    }
  }
  return hasher.Digest();
}

std::array<std::int32_t, 256> ByteIds(const VocabularyIndex& index) {
  std::array<std::int32_t, 256> ids{};
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = index.find(ToByteAlphabet(std::string(1, static_cast<char>(byte))));
    ids[static_cast<std::size_t>(byte)] = found == index.end() ? -1 : found->second;
  }
  return ids;
}

std::optional<int> MissingByte(const VocabularyIndex& index) {
  const auto ids = ByteIds(index);
  for (int byte = 0; byte < 256; ++byte) {
    if (OccursInUtf8(byte) && ids[static_cast<std::size_t>(byte)] < 0) return byte;
  }
  return std::nullopt;
}

}  // namespace marlin
