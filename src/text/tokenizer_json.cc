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

namespace marlin {
namespace {
using nlohmann::json;

Error Unsupported(std::string_view where, std::string_view what) {
  return {ErrorCode::kUnsupported, fmt::format("{}: {} is not supported; only byte-level BPE is", where, what)};
}

// nullptr when the key is absent or null, or `object` is no object.
const json* Member(const json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

Result<bool> Flag(const json& object, const char* key, bool absent, std::string_view where) {
  const json* value = Member(object, key);
  if (value == nullptr) return absent;
  if (!value->is_boolean())
    return BrokenTokenizer(where, fmt::format("\"{}\" is {}, not true or false", key, value->type_name()));
  return value->get<bool>();
}

Result<std::string> Text(const json& object, const char* key, std::string_view where) {
  const json* value = Member(object, key);
  if (value == nullptr) return BrokenTokenizer(where, fmt::format("\"{}\" is missing", key));
  if (!value->is_string())
    return BrokenTokenizer(where, fmt::format("\"{}\" is {}, not a string", key, value->type_name()));
  return value->get<std::string>();
}

Result<const json*> Array(const json& object, const char* key, std::string_view where) {
  const json* value = Member(object, key);
  if (value == nullptr || !value->is_array()) return BrokenTokenizer(where, fmt::format("\"{}\" is not an array", key));
  return value;
}

Result<std::int32_t> Id(const json& value, std::string_view what, std::string_view where) {
  const bool fits =
      value.is_number_unsigned() && value.get<std::uint64_t>() <= std::numeric_limits<std::int32_t>::max();
  if (!fits)
    return BrokenTokenizer(where, fmt::format("the id of \"{}\" is not a whole number from 0 to 2^31 - 1", what));
  return static_cast<std::int32_t>(value.get<std::uint64_t>());
}

// The members of each part of a tokenizer.json. Those with a comment have no effect on Encode.
constexpr std::array kRootMembers = {
    KnownKey{"model"},          KnownKey{"normalizer"},   KnownKey{"pre_tokenizer"},
    KnownKey{"post_processor"}, KnownKey{"added_tokens"}, KnownKey{"version"},  // of the file format, always "1.0"
    KnownKey{"decoder"},     // ids to text; byte-level BPE has one way
    KnownKey{"truncation"},  // of inputs to training and serving; texts are always encoded whole
    KnownKey{"padding"},     // likewise
};
constexpr std::array kModelMembers = {
    KnownKey{"type"},
    KnownKey{"vocab"},
    KnownKey{"merges"},
    KnownKey{"dropout"},
    KnownKey{"continuing_subword_prefix"},
    KnownKey{"end_of_word_suffix"},
    KnownKey{"byte_fallback"},
    KnownKey{"ignore_merges"},
    KnownKey{"unk_token"},
    KnownKey{"fuse_unk"},  // every byte has a token, so nothing is unknown
};
constexpr std::array kNormalizerMembers = {KnownKey{"type"}, KnownKey{"normalizers"}};
constexpr std::array<std::string_view, 4> kStepTypes = {"ByteLevel", "Digits", "Split", "Sequence"};
constexpr std::array kStepMembers = {
    KnownKey{"type"},
    KnownKey{"pretokenizers"},
    KnownKey{"add_prefix_space"},
    KnownKey{"use_regex"},
    KnownKey{"individual_digits"},
    KnownKey{"pattern"},
    KnownKey{"behavior"},
    KnownKey{"invert"},
    KnownKey{"trim_offsets"},  // offsets are not kept
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
    if (auto status = CheckMembers(root, kRootMembers, "the file"); !status) return status.error();
    const json none;
    const auto part = [&](const char* key) -> const json& {
      const json* value = Member(root, key);
      return value != nullptr ? *value : none;
    };
    if (auto status = Model(part("model")); !status) return status.error();
    if (auto status = Normalizer(part("normalizer")); !status) return status.error();
    if (auto status = Steps(part("pre_tokenizer")); !status) return status.error();
    if (auto status = AddedTokens(part("added_tokens")); !status) return status.error();
    if (auto status = PostProcessor(part("post_processor")); !status) return status.error();
    if (auto status = Config(config); !status) return status.error();
    spec_.kind = std::move(bpe_);
    return std::move(spec_);
  }

 private:
  // That every member of an object is known.
  Status CheckMembers(const json& object, std::span<const KnownKey> known, std::string_view what) const {
    if (!object.is_object()) return {};
    for (const auto& [key, value] : object.items()) {
      if (value.is_null() || FindKnownKey(known, key) != nullptr) continue;
      return Error{ErrorCode::kUnsupported,
                   fmt::format("{}: {} has the member \"{}\" ({}), which this program does not know and which could "
                               "change tokens",
                               where_, what, key, ShortValue(value))};
    }
    return {};
  }

  Status Model(const json& model) {
    if (!model.is_object()) return BrokenTokenizer(where_, "\"model\" is not an object");
    if (Member(model, "type") != nullptr) {
      auto type = Text(model, "type", where_);
      if (!type) return type.error();
      if (*type != "BPE") return Unsupported(where_, fmt::format("a tokenizer model of type \"{}\"", *type));
    }
    if (auto status = CheckMembers(model, kModelMembers, "\"model\""); !status) return status;
    if (auto status = Vocabulary(model); !status) return status;
    auto index = IndexVocabulary(bpe_.vocabulary, where_);
    if (!index) return index.error();
    if (auto status = Options(model, *index); !status) return status;
    return Merges(model, *index);
  }

  // {"token": id}: ids must be 0 .. n-1, each once.
  Status Vocabulary(const json& model) {
    const json* vocabulary = Member(model, "vocab");
    if (vocabulary == nullptr || !vocabulary->is_object()) return BrokenTokenizer(where_, "\"vocab\" is not an object");
    const std::size_t size = vocabulary->size();
    bpe_.vocabulary.resize(size);
    std::vector<bool> taken(size, false);
    for (const auto& [token, value] : vocabulary->items()) {
      auto id = Id(value, token, where_);
      if (!id) return id.error();
      const auto slot = static_cast<std::size_t>(*id);
      if (slot >= size) {
        return BrokenTokenizer(
            where_, fmt::format("token \"{}\" has id {}, but with {} tokens in the vocabulary ids end at {}", token,
                                slot, size, size - 1));
      }
      if (taken[slot]) {
        return BrokenTokenizer(
            where_, fmt::format("tokens \"{}\" and \"{}\" have the same id {}", bpe_.vocabulary[slot], token, slot));
      }
      taken[slot] = true;
      bpe_.vocabulary[slot] = token;
    }
    return {};
  }

  // Options of HF's BPE that would change ids are refused; those that cannot matter here pass.
  Status Options(const json& model, const VocabularyIndex& index) {
    const json* dropout = Member(model, "dropout");
    if (dropout != nullptr && !(dropout->is_number() && dropout->get<double>() == 0.0)) {
      return Unsupported(where_, "a tokenizer with \"dropout\" (its ids are random)");
    }
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const json* affix = Member(model, key);
      if (affix != nullptr && *affix != "") return Unsupported(where_, fmt::format("\"{}\" {}", key, affix->dump()));
    }
    auto fallback = Flag(model, "byte_fallback", false, where_);
    if (!fallback) return fallback.error();
    const auto missing = MissingByte(index);
    if (missing && (*fallback || Member(model, "unk_token") != nullptr)) {
      return Unsupported(where_, fmt::format("a vocabulary without byte 0x{:02x} but with \"{}\"", *missing,
                                             *fallback ? "byte_fallback" : "unk_token"));
    }
    auto ignore_merges = Flag(model, "ignore_merges", false, where_);
    if (!ignore_merges) return ignore_merges.error();
    bpe_.ignore_merges = *ignore_merges;
    return {};
  }

  // "a b" or ["a", "b"].
  Status Merges(const json& model, const VocabularyIndex& index) {
    auto merges = Array(model, "merges", where_);
    if (!merges) return merges.error();
    bpe_.merges.reserve((*merges)->size());
    for (std::size_t rank = 0; rank < (*merges)->size(); ++rank) {
      const json& entry = (**merges)[rank];
      std::optional<std::pair<std::string_view, std::string_view>> halves;
      if (entry.is_string()) {
        const auto& line = entry.get_ref<const std::string&>();
        if (line.starts_with("#version")) continue;
        halves = HalvesOfMerge(line);
      } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
        halves.emplace(entry[0].get_ref<const std::string&>(), entry[1].get_ref<const std::string&>());
      }
      if (!halves) {
        return BrokenTokenizer(where_, fmt::format("merge {} is neither \"a b\" nor [\"a\", \"b\"]", rank));
      }
      auto merge = ResolveMerge(index, halves->first, halves->second, rank, where_);
      if (!merge) return merge.error();
      bpe_.merges.push_back(*merge);
    }
    return {};
  }

  Status Normalizer(const json& normalizer) {
    if (normalizer.is_null()) return {};
    auto type = Text(normalizer, "type", where_);
    if (!type) return type.error();
    if (*type != "NFC" && *type != "Sequence") return Unsupported(where_, fmt::format("the normalizer \"{}\"", *type));
    if (auto status = CheckMembers(normalizer, kNormalizerMembers, "the normalizer"); !status) return status;
    if (*type == "NFC") {
      bpe_.nfc = true;
      return {};
    }
    auto members = Array(normalizer, "normalizers", where_);
    if (!members) return members.error();
    for (const json& member : **members) {
      if (auto status = Normalizer(member); !status) return status;
    }
    return {};
  }

  Status Steps(const json& step) {
    if (step.is_null()) return Unsupported(where_, "a tokenizer without pre-tokenizer");
    auto type = Text(step, "type", where_);
    if (!type) return type.error();
    if (std::ranges::find(kStepTypes, *type) == kStepTypes.end()) {
      return Unsupported(where_, fmt::format("the pre-tokenizer \"{}\"", *type));
    }
    if (auto status = CheckMembers(step, kStepMembers, "the pre-tokenizer"); !status) return status;
    if (*type == "ByteLevel") {
      auto prefix = Flag(step, "add_prefix_space", true, where_);
      if (!prefix) return prefix.error();
      auto use_regex = Flag(step, "use_regex", true, where_);
      if (!use_regex) return use_regex.error();
      bpe_.steps.emplace_back(ByteLevelStep{*prefix, *use_regex});
      return {};
    }
    if (*type == "Digits") {
      auto individual = Flag(step, "individual_digits", false, where_);
      if (!individual) return individual.error();
      bpe_.steps.emplace_back(DigitsStep{*individual});
      return {};
    }
    if (*type == "Split") return Split(step);
    auto members = Array(step, "pretokenizers", where_);
    if (!members) return members.error();
    for (const json& member : **members) {
      if (auto status = Steps(member); !status) return status;
    }
    return {};
  }

  Status Split(const json& step) {
    SplitStep split;
    const json* pattern = Member(step, "pattern");
    if (pattern == nullptr) return BrokenTokenizer(where_, "a Split without \"pattern\"");
    const bool literal = Member(*pattern, "String") != nullptr;
    auto text = Text(*pattern, literal ? "String" : "Regex", where_);
    if (!text) return text.error();
    split.pattern = literal ? EscapeRegex(*text) : *text;
    auto invert = Flag(step, "invert", false, where_);
    if (!invert) return invert.error();
    split.invert = *invert;
    auto behavior = Text(step, "behavior", where_);
    if (!behavior) return behavior.error();
    for (const auto& [name, value] : kSplitBehaviorNames) {
      if (name != *behavior) continue;
      split.behavior = value;
      bpe_.steps.emplace_back(std::move(split));
      return {};
    }
    return BrokenTokenizer(where_, fmt::format("a Split with the unknown behavior \"{}\"", *behavior));
  }

  Status AddedTokens(const json& tokens) {
    if (tokens.is_null()) return {};
    if (!tokens.is_array()) return BrokenTokenizer(where_, "\"added_tokens\" is not an array");
    for (const json& entry : tokens) {
      AddedToken token;
      if (auto status = CheckMembers(entry, kAddedTokenMembers, "an added token"); !status) return status;
      auto content = Text(entry, "content", where_);
      if (!content) return content.error();
      token.content = *content;
      const json* id_value = Member(entry, "id");
      auto id = Id(id_value != nullptr ? *id_value : json(), token.content, where_);
      if (!id) return id.error();
      token.id = *id;
      const std::array<std::pair<const char*, bool*>, 5> flags = {{{"special", &token.special},
                                                                   {"normalized", &token.normalized},
                                                                   {"single_word", &token.single_word},
                                                                   {"lstrip", &token.lstrip},
                                                                   {"rstrip", &token.rstrip}}};
      for (const auto& [key, target] : flags) {
        auto flag = Flag(entry, key, false, where_);
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
    auto type = Text(processor, "type", where_);
    if (!type) return type.error();
    if (*type != "ByteLevel" && *type != "Sequence" && *type != "TemplateProcessing") {
      return Unsupported(where_, fmt::format("the post-processor \"{}\"", *type));
    }
    if (auto status = CheckMembers(processor, kProcessorMembers, "the post-processor"); !status) return status;
    if (*type == "ByteLevel") return {};
    if (*type == "Sequence") {
      auto members = Array(processor, "processors", where_);
      if (!members) return members.error();
      for (const json& member : **members) {
        if (auto status = PostProcessor(member); !status) return status;
      }
      return {};
    }
    auto single = Array(processor, "single", where_);
    if (!single) return single.error();
    if (auto status = CheckTemplate(**single); !status) return status;
    const json* first = (*single)->empty() ? nullptr : Member((**single)[0], "SpecialToken");
    if (first == nullptr) return {};
    auto name = Text(*first, "id", where_);
    if (!name) return name.error();
    const json* specials = Member(processor, "special_tokens");
    const json* entry = specials != nullptr ? Member(*specials, name->c_str()) : nullptr;
    const json* ids = entry != nullptr ? Member(*entry, "ids") : nullptr;
    if (ids == nullptr || !ids->is_array() || ids->size() != 1) {
      return BrokenTokenizer(where_,
                             fmt::format("the post-processor adds \"{}\", for which it has no single id", *name));
    }
    auto id = Id((*ids)[0], *name, where_);
    if (!id) return id.error();
    spec_.bos = *id;
    spec_.adds_bos = true;
    return {};
  }

  // At most one special token, and before the text.
  Status CheckTemplate(const json& single) const {
    const bool begins = !single.empty() && Member(single[0], "SpecialToken") != nullptr;
    const std::size_t text = begins ? 1 : 0;
    if (single.size() <= text + 1 && (single.size() == text || Member(single[text], "Sequence") != nullptr)) return {};
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
      auto flag = Flag(config, key, false, where_);
      if (!flag) return flag.error();
      if (!*flag) continue;
      return Error{ErrorCode::kUnsupported,
                   fmt::format("{}: \"{}\" in tokenizer_config.json is true, want false; it changes the tokens of a "
                               "text in a way that is not supported",
                               where_, key)};
    }
    if (auto status = CheckPrefix(config); !status) return status;
    auto add_bos = Flag(config, "add_bos_token", spec_.adds_bos, where_);
    if (!add_bos) return add_bos.error();
    spec_.adds_bos = *add_bos;
    return {};
  }

  // Other programs let tokenizer_config.json change the pre-tokenizer; where both agree, nothing changes.
  Status CheckPrefix(const json& config) const {
    bool adds = false;
    for (const PreTokenizerStep& step : bpe_.steps) {
      const auto* bytes = std::get_if<ByteLevelStep>(&step);
      adds = adds || (bytes != nullptr && bytes->add_prefix_space);
    }
    const auto wanted = Flag(config, "add_prefix_space", adds, where_);
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
    const json* value = Member(config, key);
    if (value == nullptr) return {};
    auto content = value->is_object() ? Text(*value, "content", where_) : Text(config, key, where_);
    if (!content) return content.error();
    for (const AddedToken& token : spec_.added) {
      if (token.content == *content) id = token.id;
    }
    if (id >= 0) return {};
    for (std::size_t i = 0; i < bpe_.vocabulary.size(); ++i) {
      if (bpe_.vocabulary[i] == *content) id = static_cast<std::int32_t>(i);
    }
    return {};
  }

  std::string_view where_;
  ByteLevelBpe bpe_;    // the kind that is read
  TokenizerSpec spec_;  // the rest
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
