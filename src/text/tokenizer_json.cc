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
#include "text/tokenizer_config.h"
#include "text/tokenizer_json_members.h"
#include "text/tokenizer_json_model.h"
#include "text/tokenizer_json_steps.h"

namespace marlin {
namespace {
using nlohmann::json;

// The members of each part of a tokenizer.json. Those with a comment have no effect on Encode.
constexpr std::array kRootMembers = {
    KnownKey{"model"}, KnownKey{"normalizer"}, KnownKey{"pre_tokenizer"}, KnownKey{"post_processor"},
    KnownKey{"added_tokens"}, KnownKey{"version"},  // of the file format, always "1.0"
    KnownKey{"decoder"}, KnownKey{"truncation"},    // of inputs to training and serving; texts are always encoded
                                                    // whole
    KnownKey{"padding"},                            // likewise
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
    if (auto status = ApplyTokenizerConfig(config, where_, spec_); !status) return status.error();
    return std::move(spec_);
  }

 private:
  Status AddedTokens(const json& tokens) {
    if (tokens.is_null()) return {};
    if (!tokens.is_array()) return BrokenTokenizer(where_, "\"added_tokens\" is not an array");
    for (const json& entry : tokens) {
      auto token = ReadAddedToken(entry, where_);
      if (!token) return token.error();
      const json* id = MemberOf(entry, "id");
      if (auto status = IdOf(id != nullptr ? *id : json(), token->content, where_).MoveTo(token->id); !status)
        return status;
      spec_.added.push_back(std::move(*token));
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
    return Template(**single, processor);
  }

  // Special tokens, then the text. The last of several special tokens is BOS.
  Status Template(const json& single, const json& processor) {
    std::vector<std::int32_t> ids;
    for (; ids.size() < single.size();) {
      const json* special = MemberOf(single[ids.size()], "SpecialToken");
      if (special == nullptr) break;
      auto id = IdOfSpecialToken(*special, processor);
      if (!id) return id.error();
      ids.push_back(*id);
    }
    const bool ends = ids.size() == single.size();
    if (!ends && (ids.size() + 1 != single.size() || MemberOf(single[ids.size()], "Sequence") == nullptr)) {
      return Error{
          ErrorCode::kUnsupported,
          fmt::format("{}: the post-processor makes {} of a text, which is not supported; supported are special "
                      "tokens before the text",
                      where_, ShortValue(single))};
    }
    if (ids.empty()) return {};
    spec_.adds_bos = true;
    spec_.bos = ids.back();
    ids.pop_back();
    spec_.before_bos = std::move(ids);
    return {};
  }

  Result<std::int32_t> IdOfSpecialToken(const json& special, const json& processor) const {
    auto name = TextOf(special, "id", where_);
    if (!name) return name.error();
    const json* specials = MemberOf(processor, "special_tokens");
    // By the whole name, which may have a byte 0.
    const bool known = specials != nullptr && specials->is_object() && specials->contains(*name);
    const json* ids = known ? MemberOf((*specials)[*name], "ids") : nullptr;
    if (ids != nullptr && ids->is_array() && ids->size() == 1) return IdOf((*ids)[0], *name, where_);
    return BrokenTokenizer(where_, fmt::format("the post-processor adds \"{}\", for which it has no single id", *name));
  }

  std::string_view where_;
  TokenizerSpec spec_;
};

}  // namespace

Result<TokenizerSpec> SpecFromTokenizerJson(std::string_view tokenizer_json, std::string_view tokenizer_config_json,
                                            std::string_view where) {
  auto root = ParseJson(tokenizer_json, where);
  if (!root) return root.error();
  auto config = ParseTokenizerConfig(tokenizer_config_json, where);
  if (!config) return config.error();
  return JsonReader(where).Read(*root, *config);
}

}  // namespace marlin
