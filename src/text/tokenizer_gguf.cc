#include "text/tokenizer_gguf.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "text/gguf_pre_tokenizers.h"
#include "text/unicode.h"

namespace marlin {
namespace {

// tokenizer.ggml.token_type
enum : std::int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

Error UnknownName(std::string_view where, std::string_view what, std::string_view got, std::string_view known) {
  return {ErrorCode::kUnsupported, fmt::format("{}: {} is {}; supported are {}", where, what, got, known)};
}

Result<const GgufPreTokenizer*> ReadPreTokenizerName(const GgufFile& file, std::string_view where) {
  auto pre = file.Find<std::string_view>("tokenizer.ggml.pre");
  if (!pre) return pre.error();
  const GgufPreTokenizer* found = *pre != nullptr ? FindGgufPreTokenizer(**pre) : nullptr;
  if (found != nullptr) return found;
  const std::string got = *pre != nullptr ? fmt::format("\"{}\"", **pre) : "missing";
  return UnknownName(where, "the pre-tokenizer (tokenizer.ggml.pre)", got, GgufPreTokenizerNames());
}

Result<std::vector<std::string>> ReadVocabulary(const GgufFile& file, std::string_view where) {
  auto tokens = file.Require<GgufStrings>("tokenizer.ggml.tokens");
  if (!tokens) return tokens.error();
  std::vector<std::string> vocabulary;
  for (std::size_t id = 0; id < tokens->size(); ++id) {
    const std::string_view token = (*tokens)[id];
    if (const auto bad = FindInvalidUtf8(token)) {
      return BrokenTokenizer(where, fmt::format("token {} of tokenizer.ggml.tokens is not UTF-8 at byte {}", id, *bad));
    }
    // Several tokens may be empty: they stand for nothing, but each has a name.
    vocabulary.emplace_back(token.empty() ? fmt::format("[EMPTY_{}]", id) : token);
  }
  return vocabulary;
}

Result<std::vector<BpeMerge>> ReadMerges(const GgufFile& file, std::string_view where, const VocabularyIndex& index) {
  auto lines = file.Require<GgufStrings>("tokenizer.ggml.merges");
  if (!lines) return lines.error();
  std::vector<BpeMerge> merges;
  for (std::size_t rank = 0; rank < lines->size(); ++rank) {
    const auto halves = HalvesOfMerge((*lines)[rank]);
    if (!halves || FindInvalidUtf8((*lines)[rank])) {
      return BrokenTokenizer(
          where, fmt::format("merge {} of tokenizer.ggml.merges is not two tokens with one space between", rank));
    }
    auto merge = ResolveMerge(index, halves->first, halves->second, rank, where);
    if (!merge) return merge.error();
    merges.push_back(*merge);
  }
  return merges;
}

// By id; all normal where the file has no types.
Result<std::vector<std::int64_t>> ReadTokenTypes(const GgufFile& file, std::size_t size, std::string_view where) {
  auto found = file.Find<GgufNumbers>("tokenizer.ggml.token_type");
  if (!found) return found.error();
  std::vector<std::int64_t> all(size, kNormal);
  if (*found == nullptr) return all;
  const GgufNumbers& types = **found;
  if (!types.is_integer() || types.size != size) {
    return BrokenTokenizer(where,
                           fmt::format("tokenizer.ggml.token_type has {} {}, but there are {} tokens", types.size,
                                       types.is_integer() ? "entries" : "entries that are not integers", size));
  }
  for (std::size_t id = 0; id < size; ++id) {
    all[id] = types.Integer(id);
    if (all[id] >= kNormal && all[id] <= kByte) continue;
    return BrokenTokenizer(where,
                           fmt::format("token {} has the unknown type {} in tokenizer.ggml.token_type", id, all[id]));
  }
  return all;
}

// Of Phi-3, the file does not say that its special tokens swallow the white space after them.
bool SwallowsSpace(const GgufFile& file, std::string_view token) {
  const auto name = file.Find<std::string_view>("general.name");
  if (!name || *name == nullptr) return false;
  const std::string lower = LowerCase(FindInvalidUtf8(**name) ? std::string_view() : **name);
  if (lower.find("phi-3") == std::string::npos && lower.find("phi3") == std::string::npos) return false;
  return token != "<unk>" && token != "<s>" && token != "<|endoftext|>";
}

void AddTokensOfTypes(const GgufFile& file, const std::vector<std::int64_t>& types, TokenizerSpec& spec) {
  for (std::size_t id = 0; id < types.size(); ++id) {
    if (types[id] != kControl && types[id] != kUnknown && types[id] != kUserDefined) continue;
    AddedToken token;
    token.content = spec.vocabulary()[id];
    token.id = static_cast<std::int32_t>(id);
    token.special = types[id] != kUserDefined;
    token.rstrip = SwallowsSpace(file, token.content);
    spec.added.push_back(std::move(token));
  }
}

Result<std::vector<float>> ReadScores(const GgufFile& file, std::size_t size, std::string_view where) {
  auto numbers = file.Require<GgufNumbers>("tokenizer.ggml.scores");
  if (!numbers) return numbers.error();
  if (numbers->size != size) {
    return BrokenTokenizer(
        where, fmt::format("tokenizer.ggml.scores has {} entries, but there are {} tokens", numbers->size, size));
  }
  std::vector<float> scores(size);
  for (std::size_t id = 0; id < size; ++id) {
    scores[id] =
        numbers->is_integer() ? static_cast<float>(numbers->Integer(id)) : static_cast<float>(numbers->Number(id));
    if (std::isfinite(scores[id])) continue;
    return BrokenTokenizer(where, fmt::format("token {} has the score {} in tokenizer.ggml.scores", id, scores[id]));
  }
  return scores;
}

Status ReadId(const GgufFile& file, std::string_view key, std::string_view where, std::int32_t& id) {
  auto found = file.Find<std::int64_t>(key);
  if (!found) return found.error();
  if (*found == nullptr) return {};
  if (**found < 0 || **found > std::numeric_limits<std::int32_t>::max()) {
    return BrokenTokenizer(where, fmt::format("{} is {}, which is no token", key, **found));
  }
  id = static_cast<std::int32_t>(**found);
  return {};
}

Status ReadPolicy(const GgufFile& file, std::string_view where, TokenizerSpec& spec) {
  const std::array<std::pair<std::string_view, std::int32_t*>, 4> ids = {{
      {"tokenizer.ggml.bos_token_id", &spec.bos},
      {"tokenizer.ggml.eos_token_id", &spec.eos},
      {"tokenizer.ggml.unknown_token_id", &spec.unknown},
      {"tokenizer.ggml.padding_token_id", &spec.padding},
  }};
  for (const auto& [key, id] : ids) {
    if (auto status = ReadId(file, key, where, *id); !status) return status;
  }
  auto add_bos = file.Find<bool>("tokenizer.ggml.add_bos_token");
  if (!add_bos) return add_bos.error();
  if (*add_bos != nullptr) spec.adds_bos = **add_bos;
  auto chat_template = file.Find<std::string_view>("tokenizer.chat_template");
  if (!chat_template) return chat_template.error();
  if (*chat_template != nullptr && !FindInvalidUtf8(**chat_template)) spec.chat_template = **chat_template;
  return {};
}

Result<TokenizerSpec> ReadByteLevel(const GgufFile& file, std::string_view where) {
  auto pre = ReadPreTokenizerName(file, where);
  if (!pre) return pre.error();
  TokenizerSpec spec;
  spec.pre_tokenizer = (*pre)->steps();
  if ((*pre)->nfc) spec.normalizer.emplace_back(UnicodeFormStep{UnicodeForm::kNfc});
  spec.adds_bos = (*pre)->adds_bos;
  auto vocabulary = ReadVocabulary(file, where);
  if (!vocabulary) return vocabulary.error();
  const auto index = IndexVocabulary(*vocabulary, where);
  if (!index) return index.error();
  auto merges = ReadMerges(file, where, *index);
  if (!merges) return merges.error();
  if (std::holds_alternative<ByteLevelStep>(spec.pre_tokenizer.back())) {
    spec.kind = ByteLevelBpe{std::move(*vocabulary), std::move(*merges), (*pre)->ignore_merges};
  } else {
    spec.kind = CharacterBpe{std::move(*vocabulary), std::move(*merges), -1, false, false, (*pre)->ignore_merges};
    spec.decoder = {DecodeByteLevelStep{}};
  }
  return spec;
}

// Spaces are U+2581, characters without a token are bytes. `scored`: the file has scores instead of merges.
Result<TokenizerSpec> ReadCharacters(const GgufFile& file, bool scored, std::string_view where) {
  const std::string space = "\u2581";
  auto prefix = file.Find<bool>("tokenizer.ggml.add_space_prefix");
  if (!prefix) return prefix.error();
  TokenizerSpec spec;
  spec.adds_bos = true;
  const bool prepends = *prefix != nullptr ? **prefix : scored;
  if (prepends) spec.normalizer.emplace_back(PrependStep{space});
  spec.normalizer.emplace_back(ReplaceStep{" ", false, space});
  spec.decoder = {DecodeReplaceStep{space, " "}, ByteFallbackStep{}, FuseStep{}};
  if (prepends) spec.decoder.emplace_back(DecodeStripStep{" ", 1, 0});
  CharacterBpe kind;
  kind.fuse_unknown = true;
  kind.byte_fallback = true;
  if (auto status = ReadVocabulary(file, where).MoveTo(kind.vocabulary); !status) return status.error();
  const auto index = IndexVocabulary(kind.vocabulary, where);
  if (!index) return index.error();
  if (!scored) {
    if (auto status = ReadMerges(file, where, *index).MoveTo(kind.merges); !status) return status.error();
  } else {
    const auto scores = ReadScores(file, kind.vocabulary.size(), where);
    if (!scores) return scores.error();
    const auto types = ReadTokenTypes(file, kind.vocabulary.size(), where);
    if (!types) return types.error();
    std::vector<bool> joins;
    for (const std::int64_t type : *types) joins.push_back(type == kNormal || type == kUnused);
    auto merges = MergesFromScores(kind.vocabulary, *scores, joins, MergeWays::kLongerLeftFirst, *index, where);
    if (!merges) return merges.error();
    kind.merges = std::move(*merges);
    spec.bos = 1;  // the default of such files
    spec.eos = 2;
    spec.unknown = 0;
  }
  if (auto status = ReadId(file, "tokenizer.ggml.unknown_token_id", where, spec.unknown); !status) {
    return status.error();
  }
  kind.unknown = spec.unknown;
  spec.kind = std::move(kind);
  return spec;
}

Result<TokenizerSpec> ReadKind(const GgufFile& file, std::string_view where) {
  auto model = file.Require<std::string_view>("tokenizer.ggml.model");
  if (!model) return model.error();
  auto pre = file.Find<std::string_view>("tokenizer.ggml.pre");
  if (!pre) return pre.error();
  const bool characters = *pre != nullptr && (**pre == "gemma4" || **pre == "sarvam-moe");
  if (*model == "llama") return ReadCharacters(file, true, where);
  if (*model == "gemma4" || (*model == "gpt2" && characters)) return ReadCharacters(file, false, where);
  if (*model == "gpt2") return ReadByteLevel(file, where);
  return UnknownName(where, "the kind of the tokenizer (tokenizer.ggml.model)", fmt::format("\"{}\"", *model),
                     "gpt2, llama, gemma4");
}

}  // namespace

Result<TokenizerSpec> SpecFromGguf(const GgufFile& file, std::string_view where) {
  auto spec = ReadKind(file, where);
  if (!spec) return spec.error();
  const auto types = ReadTokenTypes(file, spec->vocabulary().size(), where);
  if (!types) return types.error();
  AddTokensOfTypes(file, *types, *spec);
  if (auto status = ReadPolicy(file, where, *spec); !status) return status.error();
  return spec;
}

}  // namespace marlin
