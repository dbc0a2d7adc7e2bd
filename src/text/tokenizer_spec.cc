#include "text/tokenizer_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace marlin {
namespace {

Status CheckAdded(const TokenizerSpec& spec, const VocabularyIndex& index, std::string_view where) {
  auto next = static_cast<std::int32_t>(spec.vocabulary().size());
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

template <class Step>
void HashSteps(const std::vector<Step>& steps, TokenizerHasher& hasher) {
  hasher.Number(static_cast<std::int64_t>(steps.size()));
  for (const Step& step : steps) HashStep(step, hasher);
}

bool IsNfc(const NormalizerStep& step) {
  const auto* form = std::get_if<UnicodeFormStep>(&step);
  return form != nullptr && form->form == UnicodeForm::kNfc;
}

// Byte-level BPE with NFC or no normalizer keeps the hash that published records hold.
void HashStepsBeforeModel(const TokenizerSpec& spec, TokenizerHasher& hasher) {
  const auto* byte_level = std::get_if<ByteLevelBpe>(&spec.kind);
  if (byte_level != nullptr && std::ranges::all_of(spec.normalizer, IsNfc)) {
    hasher.Text("marlin byte-level bpe 1");
    hasher.Number(!spec.normalizer.empty());
    hasher.Number(byte_level->ignore_merges);
  } else {
    hasher.Text("marlin tokenizer 1");
    hasher.Number(byte_level != nullptr && byte_level->ignore_merges);
    HashSteps(spec.normalizer, hasher);
  }
  HashSteps(spec.pre_tokenizer, hasher);
}

}  // namespace

const std::vector<std::string>& TokenizerSpec::vocabulary() const {
  return std::visit([](const auto& of) -> const std::vector<std::string>& { return of.vocabulary; }, kind);
}

std::size_t TokenizerSpec::size() const {
  std::size_t size = vocabulary().size();
  for (const AddedToken& token : added) size = std::max(size, static_cast<std::size_t>(token.id) + 1);
  return size;
}

std::string_view TokenizerSpec::Text(std::int32_t id) const {
  if (id >= 0 && static_cast<std::size_t>(id) < vocabulary().size()) return vocabulary()[static_cast<std::size_t>(id)];
  for (const AddedToken& token : added) {
    if (token.id == id) return token.content;
  }
  return {};
}

Status CheckSpec(const TokenizerSpec& spec, const VocabularyIndex& index, std::string_view where) {
  const Status kind = std::visit([&](const auto& checked) { return CheckKind(checked, index, where); }, spec.kind);
  if (!kind) return kind;
  if (auto status = CheckAdded(spec, index, where); !status) return status;
  const auto size = static_cast<std::int64_t>(spec.size());
  for (const auto& [name, id] : {std::pair("BOS", spec.bos), std::pair("EOS", spec.eos),
                                 std::pair("unknown", spec.unknown), std::pair("padding", spec.padding)}) {
    if (id < -1 || id >= size) {
      return BrokenTokenizer(where, fmt::format("the {} token has id {}, but there are {} tokens", name, id, size));
    }
  }
  for (const std::int32_t id : spec.before_bos) {
    if (id < 0 || id >= size) {
      return BrokenTokenizer(where, fmt::format("a token with the id {} is put in front, but there are {}", id, size));
    }
  }
  if (spec.adds_bos && spec.bos < 0) {
    return BrokenTokenizer(where, "BOS shall be added to every text, but no BOS token is named");
  }
  return {};
}

std::string HashOfSpec(const TokenizerSpec& spec) {
  TokenizerHasher hasher;
  HashStepsBeforeModel(spec, hasher);
  std::visit([&](const auto& kind) { HashKind(kind, hasher); }, spec.kind);
  for (const AddedToken& token : spec.added) {
    hasher.Number(token.id);
    hasher.Text(token.content);
    for (const bool flag : {token.special, token.normalized, token.single_word, token.lstrip, token.rstrip}) {
      hasher.Number(flag);
    }
  }
  return hasher.Digest();
}

}  // namespace marlin
