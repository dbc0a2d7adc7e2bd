#include "text/unigram.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "text/unicode.h"

namespace marlin {
namespace {

// An unknown character costs this much more than the worst token.
constexpr double kUnknownPenalty = 10.0;

}  // namespace

Status CheckKind(const Unigram& kind, const VocabularyIndex&, std::string_view where) {
  for (std::size_t id = 0; id < kind.scores.size(); ++id) {
    if (!std::isfinite(kind.scores[id])) {
      return BrokenTokenizer(where,
                             fmt::format("token {} has the score {}, want a finite number", id, kind.scores[id]));
    }
  }
  const auto size = static_cast<std::int64_t>(kind.vocabulary.size());
  if (kind.unknown < -1 || kind.unknown >= size) {
    return BrokenTokenizer(where,
                           fmt::format("the unknown token has id {}, but there are {} tokens", kind.unknown, size));
  }
  return {};
}

void HashKind(const Unigram& kind, TokenizerHasher& hasher) {
  hasher.Text("marlin unigram 1");
  hasher.Number(kind.unknown);
  hasher.Number(kind.byte_fallback);
  hasher.Number(static_cast<std::int64_t>(kind.vocabulary.size()));
  for (std::size_t id = 0; id < kind.vocabulary.size(); ++id) {
    hasher.Text(kind.vocabulary[id]);
    hasher.Number(std::bit_cast<std::int64_t>(kind.scores[id]));
  }
}

std::string BytesOf(const Unigram& kind, std::span<const DecoderStep> decoder, std::size_t id) {
  return DecodeToken(decoder, kind.vocabulary[id]);
}

UnigramEncoder::UnigramEncoder(const Unigram& kind, const VocabularyIndex& index)
    : scores_(kind.scores), bytes_(ByteFallbackIds(index)), unknown_(kind.unknown), byte_fallback_(kind.byte_fallback) {
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t id = 0; id < kind.vocabulary.size(); ++id) {
    least = std::min(least, scores_[id]);
    if (!kind.vocabulary[id].empty()) trie_.Insert(kind.vocabulary[id], static_cast<std::int32_t>(id));
  }
  unknown_score_ = least - kUnknownPenalty;
}

Status UnigramEncoder::FindBest(std::string_view word, std::vector<Step>& best) const {
  best.assign(word.size() + 1, Step{});
  const auto offer = [&](std::size_t begin, std::size_t end, std::int32_t id, double score) {
    Step& step = best[end];
    if (step.id < 0 || score > step.score) step = {score, static_cast<std::uint32_t>(begin), id};
  };
  for (std::size_t begin = 0; begin < word.size();) {
    const std::size_t character = CodePointAt(word, begin).bytes;
    const double so_far = best[begin].score;
    bool has_token = false;
    std::uint32_t node = ByteTrie::kRoot;
    for (std::size_t end = begin; end < word.size();) {
      node = trie_.Next(node, word[end++]);
      if (node == ByteTrie::kNone) break;
      const std::int32_t id = trie_.ValueAt(node);
      if (id < 0) continue;
      offer(begin, end, id, scores_[static_cast<std::size_t>(id)] + so_far);
      has_token = has_token || end - begin == character;
    }
    if (!has_token) {
      if (unknown_ < 0) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("the character \"{}\" has no token, and the tokenizer names no unknown token",
                                 word.substr(begin, character))};
      }
      offer(begin, begin + character, unknown_, unknown_score_ + so_far);
    }
    begin += character;
  }
  return {};
}

void UnigramEncoder::AddPart(std::string_view part, std::vector<std::int32_t>& ids) const {
  std::uint32_t node = ByteTrie::kRoot;
  for (std::size_t i = 0; i < part.size() && node != ByteTrie::kNone; ++i) node = trie_.Next(node, part[i]);
  if (node != ByteTrie::kNone && trie_.ValueAt(node) >= 0) {
    ids.push_back(trie_.ValueAt(node));
    return;
  }
  const auto id = [&](char byte) { return bytes_[static_cast<unsigned char>(byte)]; };
  if (byte_fallback_ && std::ranges::all_of(part, [&](char byte) { return id(byte) >= 0; })) {
    for (const char byte : part) ids.push_back(id(byte));
    return;
  }
  ids.push_back(unknown_);
}

Status UnigramEncoder::Encode(std::string_view word, Workspace& workspace, std::vector<std::int32_t>& ids) const {
  if (word.size() > kLongestWord_bytes) return TooLongWord(word.size(), kLongestWord_bytes);
  if (auto status = FindBest(word, workspace.best); !status) return status;
  auto& ends = workspace.ends;
  ends.clear();
  for (std::size_t end = word.size(); end > 0; end = workspace.best[end].begin) {
    ends.push_back(static_cast<std::uint32_t>(end));
  }
  std::size_t begin = 0;
  for (std::size_t i = ends.size(); i-- > 0;) {
    // A run of unknown tokens is one part.
    const bool unknown = workspace.best[ends[i]].id == unknown_;
    while (unknown && i > 0 && workspace.best[ends[i - 1]].id == unknown_) --i;
    if (unknown) {
      AddPart(word.substr(begin, ends[i] - begin), ids);
    } else {
      ids.push_back(workspace.best[ends[i]].id);
    }
    begin = ends[i];
  }
  return {};
}

UnigramEncoder EncoderOf(const Unigram& kind, const VocabularyIndex& index) { return {kind, index}; }

}  // namespace marlin
