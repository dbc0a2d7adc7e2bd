#include "text/tokenizer_tekken.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "files/json_text.h"
#include "text/base64.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_json_members.h"

namespace marlin {
namespace {
using nlohmann::json;

constexpr int kMostTekkenTokens = 1 << 24;

constexpr std::array kTekkenMembers = {
    KnownKey{"config"},
    KnownKey{"vocab"},
    KnownKey{"special_tokens"},
    KnownKey{"type"},
    // Of pictures, sound and prompts.
    KnownKey{"image"},
    KnownKey{"multimodal"},
    KnownKey{"audio"},
    KnownKey{"model_settings_builder"},
};
constexpr std::array kTekkenConfigMembers = {
    KnownKey{"pattern"},
    KnownKey{"num_vocab_tokens"},
    KnownKey{"default_vocab_size"},
    KnownKey{"default_num_special_tokens"},
    KnownKey{"version"},
};

// Of files up to version 7, which do not list them.
constexpr std::array<std::string_view, 20> kOldSpecialTokens = {"<unk>",
                                                                "<s>",
                                                                "</s>",
                                                                "[INST]",
                                                                "[/INST]",
                                                                "[AVAILABLE_TOOLS]",
                                                                "[/AVAILABLE_TOOLS]",
                                                                "[TOOL_RESULTS]",
                                                                "[/TOOL_RESULTS]",
                                                                "[TOOL_CALLS]",
                                                                "[IMG]",
                                                                "<pad>",
                                                                "[IMG_BREAK]",
                                                                "[IMG_END]",
                                                                "[PREFIX]",
                                                                "[MIDDLE]",
                                                                "[SUFFIX]",
                                                                "[SYSTEM_PROMPT]",
                                                                "[/SYSTEM_PROMPT]",
                                                                "[TOOL_CONTENT]"};

struct TekkenConfig {
  std::string pattern;
  int vocabulary = 0;
  int specials = 0;
};

Result<TekkenConfig> ReadTekkenConfig(const json& root, std::string_view where) {
  const json* part = MemberOf(root, "config");
  if (part == nullptr || !part->is_object()) return BrokenTokenizer(where, "\"config\" is not an object");
  if (auto status = CheckMembers(*part, kTekkenConfigMembers, "\"config\"", where); !status) return status.error();
  TekkenConfig config;
  if (auto status = TextOf(*part, "pattern", where).MoveTo(config.pattern); !status) return status.error();
  auto vocabulary = CountOf(*part, "default_vocab_size", -1, kMostTekkenTokens, where);
  if (!vocabulary) return vocabulary.error();
  auto specials = CountOf(*part, "default_num_special_tokens", -1, kMostTekkenTokens, where);
  if (!specials) return specials.error();
  if (*specials < 1 || *vocabulary <= *specials) {
    return BrokenTokenizer(where,
                           fmt::format("\"default_vocab_size\" is {} and \"default_num_special_tokens\" {}; want "
                                       "more tokens than special tokens, and one of these at least",
                                       *vocabulary, *specials));
  }
  config.vocabulary = *vocabulary;
  config.specials = *specials;
  return config;
}

// The block of special tokens, by id. What the file does not name is called <SPECIAL_id>.
Status ReadSpecialTokens(const json& root, const TekkenConfig& config, std::string_view where, TokenizerSpec& spec,
                         std::vector<std::string>& vocabulary) {
  std::vector<std::string> names(static_cast<std::size_t>(config.specials));
  const json* listed = MemberOf(root, "special_tokens");
  if (listed == nullptr) {
    for (std::size_t id = 0; id < std::min(names.size(), kOldSpecialTokens.size()); ++id) {
      names[id] = kOldSpecialTokens[id];
    }
  } else if (!listed->is_array()) {
    return BrokenTokenizer(where, "\"special_tokens\" is not an array");
  } else {
    for (const json& entry : *listed) {
      auto name = TextOf(entry, "token_str", where);
      if (!name) return name.error();
      auto id = CountOf(entry, "rank", -1, config.specials - 1, where);
      if (!id) return id.error();
      if (*id < 0 || name->empty() || !names[static_cast<std::size_t>(*id)].empty()) {
        return BrokenTokenizer(
            where, fmt::format("the special token \"{}\" has no rank, no name, or the rank of another", *name));
      }
      names[static_cast<std::size_t>(*id)] = std::move(*name);
    }
  }
  for (std::size_t id = 0; id < names.size(); ++id) {
    if (names[id].empty()) names[id] = fmt::format("<SPECIAL_{}>", id);
    AddedToken token;
    token.content = names[id];
    token.id = static_cast<std::int32_t>(id);
    token.special = true;
    spec.added.push_back(std::move(token));
    vocabulary.push_back(std::move(names[id]));
  }
  return {};
}

// Appends the tokens of ranks 0, 1, ..., spelled in the byte alphabet.
Status ReadRankedTokens(const json& root, const TekkenConfig& config, std::string_view where,
                        std::vector<std::string>& vocabulary) {
  auto entries = ArrayOf(root, "vocab", where);
  if (!entries) return entries.error();
  const auto wanted = static_cast<std::size_t>(config.vocabulary - config.specials);
  if ((*entries)->size() < wanted) {
    return BrokenTokenizer(where,
                           fmt::format("\"vocab\" has {} tokens, but {} are wanted", (*entries)->size(), wanted));
  }
  for (std::size_t rank = 0; rank < wanted; ++rank) {
    const json& entry = (**entries)[rank];
    auto given = CountOf(entry, "rank", -1, kMostTekkenTokens, where);
    if (!given) return given.error();
    if (*given < 0 || static_cast<std::size_t>(*given) != rank) {
      return BrokenTokenizer(where, fmt::format("token {} of \"vocab\" has the rank {}", rank, *given));
    }
    auto text = TextOf(entry, "token_bytes", where);
    if (!text) return text.error();
    const auto bytes = DecodeBase64(*text);
    if (!bytes || bytes->empty()) {
      return BrokenTokenizer(where, fmt::format("the bytes of token {} of \"vocab\" are not base64", rank));
    }
    if (rank < 256 && *bytes != std::string(1, static_cast<char>(rank))) {
      return BrokenTokenizer(where, fmt::format("token {} of \"vocab\" is not the byte {}", rank, rank));
    }
    vocabulary.push_back(ToByteAlphabet(*bytes));
  }
  return {};
}

Result<ByteLevelBpe> ReadTekkenModel(const json& root, const TekkenConfig& config, std::string_view where,
                                     TokenizerSpec& spec) {
  ByteLevelBpe kind;
  kind.ignore_merges = true;
  if (auto status = ReadSpecialTokens(root, config, where, spec, kind.vocabulary); !status) return status.error();
  if (auto status = ReadRankedTokens(root, config, where, kind.vocabulary); !status) return status.error();
  const auto index = IndexVocabulary(kind.vocabulary, where);
  if (!index) return index.error();
  const auto specials = static_cast<std::size_t>(config.specials);
  std::vector<float> scores(kind.vocabulary.size());
  std::vector<bool> joins(kind.vocabulary.size());
  for (std::size_t id = specials; id < scores.size(); ++id) {
    scores[id] = -static_cast<float>(id);
    joins[id] = true;
  }
  auto merges = MergesFromScores(kind.vocabulary, scores, joins, MergeWays::kLowerIdsFirst, *index, where);
  if (!merges) return merges.error();
  kind.merges = std::move(*merges);
  return kind;
}

}  // namespace

Result<TokenizerSpec> SpecFromTekken(std::string_view tekken_json, std::string_view tokenizer_config_json,
                                     std::string_view where) {
  auto settings = ParseTokenizerConfig(tokenizer_config_json, where);
  if (!settings) return settings.error();
  auto root = ParseJson(tekken_json, where);
  if (!root) return root.error();
  if (!root->is_object()) return BrokenTokenizer(where, "not a JSON object");
  if (auto status = CheckMembers(*root, kTekkenMembers, "the file", where); !status) return status.error();
  const auto config = ReadTekkenConfig(*root, where);
  if (!config) return config.error();
  TokenizerSpec spec;
  spec.pre_tokenizer = {SplitStep{config->pattern, SplitBehavior::kIsolated, false}, ByteLevelStep{false, false}};
  auto kind = ReadTekkenModel(*root, *config, where, spec);
  if (!kind) return kind.error();
  spec.kind = std::move(*kind);
  for (const AddedToken& token : spec.added) {
    if (token.content == "<unk>") spec.unknown = token.id;
    if (token.content == "<s>") spec.bos = token.id;
    if (token.content == "</s>") spec.eos = token.id;
    if (token.content == "<pad>") spec.padding = token.id;
  }
  spec.adds_bos = spec.bos >= 0;
  if (auto status = ApplyTokenizerConfig(*settings, where, spec); !status) return status.error();
  return spec;
}

}  // namespace marlin
