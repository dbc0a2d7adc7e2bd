#include "text/tokenizer_gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "text/unicode.h"

namespace marlin {
namespace {

// GGUF names a pre-tokenizer instead of describing it. One row per name: the description that the tokenizer.json of
// the model family has.
enum class Words { kGpt2, kDigitsGpt2, kQwen2, kQwen35, kLlama3, kDefault };

struct NamedPreTokenizer {
  std::string_view name;  // tokenizer.ggml.pre
  Words words;
  bool nfc;
  bool ignore_merges;
  bool adds_bos;  // unless the file says otherwise
};

constexpr std::array kPreTokenizers = {
    NamedPreTokenizer{"gpt-2", Words::kGpt2, false, false, false},
    NamedPreTokenizer{"phi-2", Words::kGpt2, false, false, false},
    NamedPreTokenizer{"smollm", Words::kDigitsGpt2, false, false, false},
    NamedPreTokenizer{"starcoder", Words::kDigitsGpt2, false, false, false},
    NamedPreTokenizer{"refact", Words::kDigitsGpt2, false, false, false},
    NamedPreTokenizer{"qwen2", Words::kQwen2, true, false, false},
    NamedPreTokenizer{"deepseek-r1-qwen", Words::kQwen2, true, false, false},
    NamedPreTokenizer{"qwen35", Words::kQwen35, true, false, false},
    NamedPreTokenizer{"llama-bpe", Words::kLlama3, false, true, true},
    NamedPreTokenizer{"llama3", Words::kLlama3, false, true, true},
    NamedPreTokenizer{"llama-v3", Words::kLlama3, false, true, true},
    NamedPreTokenizer{"default", Words::kDefault, false, false, false},
};

constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

SplitStep Isolate(std::string_view pattern) { return {std::string(pattern), SplitBehavior::kIsolated, false}; }

std::vector<PreTokenizerStep> StepsOf(Words words) {
  const ByteLevelStep bytes_only{false, false};
  const ByteLevelStep bytes_and_words{false, true};
  switch (words) {
    case Words::kGpt2:
      return {bytes_and_words};
    case Words::kDigitsGpt2:
      return {DigitsStep{true}, bytes_and_words};
    case Words::kQwen2:
      return {Isolate(kQwen2), bytes_only};
    case Words::kQwen35:
      return {Isolate(kQwen35), bytes_only};
    case Words::kLlama3:
      return {Isolate(kLlama3), bytes_only};
    case Words::kDefault:
      break;
  }
  return {Isolate(R"([\p{P}\$\+<=>\^~\|]+)"), Isolate(kGpt2Words), Isolate(R"(\p{N}+)"), Isolate("[0-9][0-9][0-9]"),
          bytes_only};
}

// tokenizer.ggml.token_type
enum : std::int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

Result<const NamedPreTokenizer*> FindPreTokenizer(const GgufFile& file, std::string_view where) {
  auto model = file.Require<std::string_view>("tokenizer.ggml.model");
  if (!model) return model.error();
  if (*model != "gpt2") {
    return Error{
        ErrorCode::kUnsupported,
        fmt::format("{}: the tokenizer is of kind \"{}\" (tokenizer.ggml.model); only byte-level BPE (\"gpt2\") is "
                    "supported",
                    where, *model)};
  }
  auto pre = file.Find<std::string_view>("tokenizer.ggml.pre");
  if (!pre) return pre.error();
  const auto found = std::find_if(kPreTokenizers.begin(), kPreTokenizers.end(),
                                  [&](const auto& row) { return *pre != nullptr && row.name == **pre; });
  if (found != kPreTokenizers.end()) return &*found;
  std::string known;
  for (const auto& row : kPreTokenizers) known += fmt::format("{}{}", known.empty() ? "" : ", ", row.name);
  const std::string got = *pre != nullptr ? fmt::format("\"{}\"", **pre) : "missing";
  return Error{ErrorCode::kUnsupported,
               fmt::format("{}: the pre-tokenizer (tokenizer.ggml.pre) is {}; supported are {}", where, got, known)};
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
    vocabulary.emplace_back(token);
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

Status ReadTokenTypes(const GgufFile& file, std::string_view where, TokenizerSpec& spec) {
  auto found = file.Find<GgufNumbers>("tokenizer.ggml.token_type");
  if (!found) return found.error();
  if (*found == nullptr) return {};
  const GgufNumbers& types = **found;
  if (!types.is_integer() || types.size != spec.vocabulary().size()) {
    return BrokenTokenizer(
        where, fmt::format("tokenizer.ggml.token_type has {} {}, but there are {} tokens", types.size,
                           types.is_integer() ? "entries" : "entries that are not integers", spec.vocabulary().size()));
  }
  for (std::size_t id = 0; id < types.size; ++id) {
    const std::int64_t type = types.Integer(id);
    if (type < kNormal || type > kByte) {
      return BrokenTokenizer(where,
                             fmt::format("token {} has the unknown type {} in tokenizer.ggml.token_type", id, type));
    }
    if (type == kControl || type == kUnknown || type == kUserDefined) {
      AddedToken token;
      token.content = spec.vocabulary()[id];
      token.id = static_cast<std::int32_t>(id);
      token.special = type != kUserDefined;
      spec.added.push_back(std::move(token));
    }
  }
  return {};
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

}  // namespace

Result<TokenizerSpec> SpecFromGguf(const GgufFile& file, std::string_view where) {
  auto pre = FindPreTokenizer(file, where);
  if (!pre) return pre.error();
  ByteLevelBpe bpe;
  bpe.steps = StepsOf((*pre)->words);
  bpe.nfc = (*pre)->nfc;
  bpe.ignore_merges = (*pre)->ignore_merges;
  if (auto status = ReadVocabulary(file, where).MoveTo(bpe.vocabulary); !status) return status.error();
  const auto index = IndexVocabulary(bpe.vocabulary, where);
  if (!index) return index.error();
  if (auto status = ReadMerges(file, where, *index).MoveTo(bpe.merges); !status) return status.error();
  TokenizerSpec spec;
  spec.kind = std::move(bpe);
  spec.adds_bos = (*pre)->adds_bos;
  if (auto status = ReadTokenTypes(file, where, spec); !status) return status.error();
  if (auto status = ReadPolicy(file, where, spec); !status) return status.error();
  return spec;
}

}  // namespace marlin
