#include "text/tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "files/json_text.h"
#include "files/known_keys.h"
#include "text/tokenizer_json_members.h"
#include "text/tokenizer_json_model.h"
#include "text/tokenizer_json_steps.h"

namespace marlin {
namespace {
using nlohmann::json;

// The members of each part of a tokenizer.json. Those with a comment have no effect on Encode.
constexpr std::array kRootMembers = {
    KnownKey{"model"},          KnownKey{"normalizer"},   KnownKey{"pre_tokenizer"},
    KnownKey{"post_processor"}, KnownKey{"added_tokens"}, KnownKey{"version"},  // of the file format, always "1.0"
    KnownKey{"decoder"},        KnownKey{"truncation"},  // of inputs to training and serving; texts are always encoded
                                                         // whole
    KnownKey{"padding"},                                 // likewise
};
constexpr std::array kAddedTokenMembers = {
    KnownKey{"id"},     KnownKey{"content"}, KnownKey{"special"},     KnownKey{"normalized"},
    KnownKey{"lstrip"}, KnownKey{"rstrip"},  KnownKey{"single_word"},
};
constexpr std::array kProcessorMembers = {
    KnownKey{"type"},
    KnownKey{"processors"},
    KnownKey{"single"},
    KnownKey{"special_tokens"},
    KnownKey{"pair"},  // two texts at once
    KnownKey{"add_prefix_space"},
    KnownKey{"trim_offsets"},
    KnownKey{"use_regex"},  // of ByteLevel: offsets
};

// Members of tokenizer_config.json that change the tokens of a text, unless they are false. Other programs keep
// whatever they like in this file; what decides the tokens stands in tokenizer.json.
constexpr std::array kConfigFlags = {"add_eos_token", "do_lower_case"};

class JsonReader {
 public:
  explicit JsonReader(std::string_view where) : where_(where) {}

  Result<TokenizerSpec> Read(const json& root, const json& config) {
    if (!root.is_object()) return BrokenTokenizer(where_, "not a JSON object");
    if (auto status = CheckMembers(root, kRootMembers, "the file", where_); !status) return status.error();
    const json none;
    const auto part = [&](const char* key) -> const json& {
      const json* value = MemberOf(root, key);
      return value != nullptr ? *value : none;
    };
    if (auto status = ReadNormalizer(part("normalizer"), where_).MoveTo(spec_.normalizer); !status) {
      return status.error();
    }
    if (auto status = ReadPreTokenizer(part("pre_tokenizer"), where_).MoveTo(spec_.pre_tokenizer); !status) {
      return status.error();
    }
    if (auto status = ReadModel(part("model"), spec_.pre_tokenizer, where_).MoveTo(spec_.kind); !status) {
      return status.error();
    }
    // Byte-level BPE has one way back to text.
    if (!std::holds_alternative<ByteLevelBpe>(spec_.kind)) {
      if (auto status = ReadDecoder(part("decoder"), where_).MoveTo(spec_.decoder); !status) return status.error();
    }
    if (auto status = AddedTokens(part("added_tokens")); !status) return status.error();
    if (auto status = PostProcessor(part("post_processor")); !status) return status.error();
    if (auto status = Config(config); !status) return status.error();
    return std::move(spec_);
  }

 private:
  Status AddedTokens(const json& tokens) {
    if (tokens.is_null()) return {};
    if (!tokens.is_array()) return BrokenTokenizer(where_, "\"added_tokens\" is not an array");
    for (const json& entry : tokens) {
      AddedToken token;
      if (auto status = CheckMembers(entry, kAddedTokenMembers, "an added token", where_); !status) return status;
      auto content = TextOf(entry, "content", where_);
      if (!content) return content.error();
      token.content = *content;
      const json* id_value = MemberOf(entry, "id");
      auto id = IdOf(id_value != nullptr ? *id_value : json(), token.content, where_);
      if (!id) return id.error();
      token.id = *id;
      const std::array<std::pair<const char*, bool*>, 5> flags = {{{"special", &token.special},
                                                                   {"normalized", &token.normalized},
                                                                   {"single_word", &token.single_word},
                                                                   {"lstrip", &token.lstrip},
                                                                   {"rstrip", &token.rstrip}}};
      for (const auto& [key, target] : flags) {
        auto flag = FlagOf(entry, key, false, where_);
        if (!flag) return flag.error();
        *target = *flag;
      }
      spec_.added.push_back(std::move(token));
    }
    return {};
  }

  // A template that begins with a special token is a tokenizer that adds BOS.
  Status PostProcessor(const json& processor) {
    if (processor.is_null()) return {};
    auto type = TextOf(processor, "type", where_);
    if (!type) return type.error();
    if (*type != "ByteLevel" && *type != "Sequence" && *type != "TemplateProcessing") {
      return UnsupportedPart(where_, fmt::format("the post-processor \"{}\"", *type));
    }
    if (auto status = CheckMembers(processor, kProcessorMembers, "the post-processor", where_); !status) return status;
    if (*type == "ByteLevel") return {};
    if (*type == "Sequence") {
      auto members = ArrayOf(processor, "processors", where_);
      if (!members) return members.error();
      for (const json& member : **members) {
        if (auto status = PostProcessor(member); !status) return status;
      }
      return {};
    }
    auto single = ArrayOf(processor, "single", where_);
    if (!single) return single.error();
    if (auto status = CheckTemplate(**single); !status) return status;
    const json* first = (*single)->empty() ? nullptr : MemberOf((**single)[0], "SpecialToken");
    if (first == nullptr) return {};
    auto name = TextOf(*first, "id", where_);
    if (!name) return name.error();
    const json* specials = MemberOf(processor, "special_tokens");
    const json* entry = specials != nullptr ? MemberOf(*specials, name->c_str()) : nullptr;
    const json* ids = entry != nullptr ? MemberOf(*entry, "ids") : nullptr;
    if (ids == nullptr || !ids->is_array() || ids->size() != 1) {
      return BrokenTokenizer(where_,
                             fmt::format("the post-processor adds \"{}\", for which it has no single id", *name));
    }
    auto id = IdOf((*ids)[0], *name, where_);
    if (!id) return id.error();
    spec_.bos = *id;
    spec_.adds_bos = true;
    return {};
  }

  // At most one special token, and before the text.
  Status CheckTemplate(const json& single) const {
    const bool begins = !single.empty() && MemberOf(single[0], "SpecialToken") != nullptr;
    const std::size_t text = begins ? 1 : 0;
    if (single.size() <= text + 1 && (single.size() == text || MemberOf(single[text], "Sequence") != nullptr))
      return {};
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{}: the post-processor makes {} of a text, which is not supported; supported is one "
                             "special token before the text",
                             where_, ShortValue(single))};
  }

  // tokenizer_config.json has the last word on BOS.
  Status Config(const json& config) {
    if (config.is_null()) return {};
    if (!config.is_object()) return BrokenTokenizer(where_, "tokenizer_config.json is not a JSON object");
    const std::array<std::pair<const char*, std::int32_t*>, 4> names = {{{"bos_token", &spec_.bos},
                                                                         {"eos_token", &spec_.eos},
                                                                         {"unk_token", &spec_.unknown},
                                                                         {"pad_token", &spec_.padding}}};
    for (const auto& [key, id] : names) {
      if (auto status = NamedToken(config, key, *id); !status) return status;
    }
    for (const char* key : kConfigFlags) {
      auto flag = FlagOf(config, key, false, where_);
      if (!flag) return flag.error();
      if (!*flag) continue;
      return Error{ErrorCode::kUnsupported,
                   fmt::format("{}: \"{}\" in tokenizer_config.json is true, want false; it changes the tokens of a "
                               "text in a way that is not supported",
                               where_, key)};
    }
    if (auto status = CheckPrefix(config); !status) return status;
    auto add_bos = FlagOf(config, "add_bos_token", spec_.adds_bos, where_);
    if (!add_bos) return add_bos.error();
    spec_.adds_bos = *add_bos;
    return {};
  }

  // Other programs let tokenizer_config.json change the pre-tokenizer; where both agree, nothing changes.
  Status CheckPrefix(const json& config) const {
    bool adds = false;
    for (const PreTokenizerStep& step : spec_.pre_tokenizer) {
      const auto* bytes = std::get_if<ByteLevelStep>(&step);
      adds = adds || (bytes != nullptr && bytes->add_prefix_space);
    }
    const auto wanted = FlagOf(config, "add_prefix_space", adds, where_);
    if (!wanted) return wanted.error();
    if (*wanted == adds) return {};
    return Error{
        ErrorCode::kUnsupported,
        fmt::format("{}: \"add_prefix_space\" is {} in tokenizer_config.json and {} in the pre-tokenizer; make "
                    "both say what the model was trained with",
                    where_, *wanted, adds)};
  }

  // "bos_token": "<s>" or {"content": "<s>"}. A token that does not exist stays unnamed.
  Status NamedToken(const json& config, const char* key, std::int32_t& id) {
    const json* value = MemberOf(config, key);
    if (value == nullptr) return {};
    auto content = value->is_object() ? TextOf(*value, "content", where_) : TextOf(config, key, where_);
    if (!content) return content.error();
    for (const AddedToken& token : spec_.added) {
      if (token.content == *content) id = token.id;
    }
    if (id >= 0) return {};
    const auto& vocabulary = spec_.vocabulary();
    for (std::size_t i = 0; i < vocabulary.size(); ++i) {
      if (vocabulary[i] == *content) id = static_cast<std::int32_t>(i);
    }
    return {};
  }

  std::string_view where_;
  TokenizerSpec spec_;
};

}  // namespace

Result<TokenizerSpec> SpecFromTokenizerJson(std::string_view tokenizer_json, std::string_view tokenizer_config_json,
                                            std::string_view where) {
  auto root = ParseJson(tokenizer_json, where);
  if (!root) return root.error();
  json config;
  if (!tokenizer_config_json.empty()) {
    auto parsed = ParseJson(tokenizer_config_json, fmt::format("tokenizer_config.json beside {}", where));
    if (!parsed) return parsed.error();
    config = std::move(*parsed);
  }
  return JsonReader(where).Read(*root, config);
}

}  // namespace marlin
