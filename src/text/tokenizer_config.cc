#include "text/tokenizer_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "files/json_text.h"
#include "files/known_keys.h"
#include "text/tokenizer_json_members.h"

namespace marlin {
namespace {
using nlohmann::json;

constexpr std::array kAddedTokenMembers = {
    KnownKey{"id"},     KnownKey{"content"}, KnownKey{"special"},     KnownKey{"normalized"},
    KnownKey{"lstrip"}, KnownKey{"rstrip"},  KnownKey{"single_word"},
};
// Members of tokenizer_config.json that change the tokens of a text, unless they are false. Other programs keep
// whatever they like in this file; what decides the tokens stands in tokenizer.json.
constexpr std::array kConfigFlags = {"add_eos_token", "do_lower_case"};

// Whether a space is put in front of a text.
bool AddsPrefix(const TokenizerSpec& spec) {
  const auto prepends = [](const NormalizerStep& step) { return std::holds_alternative<PrependStep>(step); };
  const auto prefixes = [](const PreTokenizerStep& step) {
    const auto* bytes = std::get_if<ByteLevelStep>(&step);
    const auto* metaspace = std::get_if<MetaspaceStep>(&step);
    return (bytes != nullptr && bytes->add_prefix_space) ||
           (metaspace != nullptr && metaspace->prepend != PrependScheme::kNever);
  };
  return std::ranges::any_of(spec.normalizer, prepends) || std::ranges::any_of(spec.pre_tokenizer, prefixes);
}

// Other programs let tokenizer_config.json change the steps before the model; where both agree, nothing changes.
Status CheckPrefix(const json& config, std::string_view where, const TokenizerSpec& spec) {
  const bool adds = AddsPrefix(spec);
  const auto wanted = FlagOf(config, "add_prefix_space", adds, where);
  if (!wanted) return wanted.error();
  if (*wanted == adds) return {};
  return Error{
      ErrorCode::kUnsupported,
      fmt::format("{}: \"add_prefix_space\" is {} in tokenizer_config.json and {} in the steps before the model; make "
                  "both say what the model was trained with",
                  where, *wanted, adds)};
}

// "bos_token": "<s>" or {"content": "<s>"}. A token that does not exist stays unnamed.
Status NamedToken(const json& config, const char* key, std::string_view where, const TokenizerSpec& spec,
                  std::int32_t& id) {
  const json* value = MemberOf(config, key);
  if (value == nullptr) return {};
  auto content = value->is_object() ? TextOf(*value, "content", where) : TextOf(config, key, where);
  if (!content) return content.error();
  for (const AddedToken& token : spec.added) {
    if (token.content == *content) id = token.id;
  }
  if (id >= 0) return {};
  const auto& vocabulary = spec.vocabulary();
  for (std::size_t i = 0; i < vocabulary.size(); ++i) {
    if (vocabulary[i] == *content) id = static_cast<std::int32_t>(i);
  }
  return {};
}

// The ids of "added_tokens_decoder" are strings.
Result<std::int32_t> IdOfKey(std::string_view key, std::string_view where) {
  std::int32_t id = -1;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
  if (error == std::errc() && end == key.data() + key.size() && id >= 0) return id;
  return BrokenTokenizer(where, fmt::format("\"added_tokens_decoder\" has the id \"{}\", want a whole number", key));
}

}  // namespace

Result<json> ParseTokenizerConfig(std::string_view text, std::string_view where) {
  if (text.empty()) return json();
  auto config = ParseJson(text, fmt::format("tokenizer_config.json beside {}", where));
  if (!config) return config.error();
  if (config->is_null() || config->is_object()) return config;
  return BrokenTokenizer(where, "tokenizer_config.json is not a JSON object");
}

Result<AddedToken> ReadAddedToken(const json& entry, std::string_view where) {
  AddedToken token;
  if (auto status = CheckMembers(entry, kAddedTokenMembers, "an added token", where); !status) return status.error();
  if (auto status = TextOf(entry, "content", where).MoveTo(token.content); !status) return status.error();
  const std::array<std::pair<const char*, bool*>, 5> flags = {{{"special", &token.special},
                                                               {"normalized", &token.normalized},
                                                               {"single_word", &token.single_word},
                                                               {"lstrip", &token.lstrip},
                                                               {"rstrip", &token.rstrip}}};
  for (const auto& [key, target] : flags) {
    if (auto status = FlagOf(entry, key, false, where).MoveTo(*target); !status) return status.error();
  }
  return token;
}

Status ApplyAddedTokensDecoder(const json& config, std::string_view where, TokenizerSpec& spec) {
  const json* tokens = MemberOf(config, "added_tokens_decoder");
  if (tokens == nullptr) return {};
  if (!tokens->is_object()) return BrokenTokenizer(where, "\"added_tokens_decoder\" is not an object");
  std::map<std::int32_t, AddedToken> by_id;
  for (AddedToken& token : spec.added) by_id[token.id] = std::move(token);
  for (const auto& [key, entry] : tokens->items()) {
    auto id = IdOfKey(key, where);
    if (!id) return id.error();
    auto token = ReadAddedToken(entry, where);
    if (!token) return token.error();
    token->id = *id;
    by_id[*id] = std::move(*token);
  }
  spec.added.clear();
  for (auto& [id, token] : by_id) spec.added.push_back(std::move(token));
  return {};
}

Status ApplyTokenizerConfig(const json& config, std::string_view where, TokenizerSpec& spec) {
  if (config.is_null()) return {};
  const std::array<std::pair<const char*, std::int32_t*>, 4> names = {
      {{"bos_token", &spec.bos}, {"eos_token", &spec.eos}, {"unk_token", &spec.unknown}, {"pad_token", &spec.padding}}};
  const bool bos_is_known = spec.adds_bos;  // the steps after the model put it in front
  for (const auto& [key, id] : names) {
    if (id == &spec.bos && bos_is_known) continue;
    if (auto status = NamedToken(config, key, where, spec, *id); !status) return status;
  }
  for (const char* key : kConfigFlags) {
    auto flag = FlagOf(config, key, false, where);
    if (!flag) return flag.error();
    if (!*flag) continue;
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{}: \"{}\" in tokenizer_config.json is true, want false; it changes the tokens of a "
                             "text in a way that is not supported",
                             where, key)};
  }
  if (auto status = CheckPrefix(config, where, spec); !status) return status;
  auto add_bos = FlagOf(config, "add_bos_token", spec.adds_bos, where);
  if (!add_bos) return add_bos.error();
  spec.adds_bos = *add_bos;
  if (!spec.adds_bos) spec.before_bos.clear();
  return {};
}

}  // namespace marlin
