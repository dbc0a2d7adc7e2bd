#include "text/tokenizer_json_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "text/tokenizer_json_members.h"
#include "text/unicode.h"

namespace marlin {
namespace {
using nlohmann::json;

constexpr std::array kBpeMembers = {
    KnownKey{"type"},
    KnownKey{"vocab"},
    KnownKey{"merges"},
    KnownKey{"dropout"},
    KnownKey{"continuing_subword_prefix"},
    KnownKey{"end_of_word_suffix"},
    KnownKey{"byte_fallback"},
    KnownKey{"ignore_merges"},
    KnownKey{"unk_token"},
    KnownKey{"fuse_unk"},
};
constexpr std::array kUnigramMembers = {KnownKey{"type"}, KnownKey{"unk_id"}, KnownKey{"vocab"},
                                        KnownKey{"byte_fallback"}};

// {"token": id}: ids must be 0 .. n-1, each once.
Result<std::vector<std::string>> ReadVocabularyObject(const json& model, std::string_view where) {
  const json* object = MemberOf(model, "vocab");
  if (object == nullptr || !object->is_object()) return BrokenTokenizer(where, "\"vocab\" is not an object");
  const std::size_t size = object->size();
  std::vector<std::string> vocabulary(size);
  std::vector<bool> taken(size, false);
  for (const auto& [token, value] : object->items()) {
    auto id = IdOf(value, token, where);
    if (!id) return id.error();
    const auto slot = static_cast<std::size_t>(*id);
    if (slot >= size) {
      return BrokenTokenizer(
          where, fmt::format("token \"{}\" has id {}, but with {} tokens in the vocabulary ids end at {}", token, slot,
                             size, size - 1));
    }
    if (taken[slot]) {
      return BrokenTokenizer(
          where, fmt::format("tokens \"{}\" and \"{}\" have the same id {}", vocabulary[slot], token, slot));
    }
    taken[slot] = true;
    vocabulary[slot] = token;
  }
  return vocabulary;
}

// "a b" or ["a", "b"].
Result<std::vector<BpeMerge>> ReadMergeList(const json& model, const VocabularyIndex& index, std::string_view where) {
  auto list = ArrayOf(model, "merges", where);
  if (!list) return list.error();
  std::vector<BpeMerge> merges;
  merges.reserve((*list)->size());
  for (std::size_t rank = 0; rank < (*list)->size(); ++rank) {
    const json& entry = (**list)[rank];
    std::optional<std::pair<std::string_view, std::string_view>> halves;
    if (entry.is_string()) {
      const auto& line = entry.get_ref<const std::string&>();
      if (line.starts_with("#version")) continue;
      halves = HalvesOfMerge(line);
    } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
      halves.emplace(entry[0].get_ref<const std::string&>(), entry[1].get_ref<const std::string&>());
    }
    if (!halves) return BrokenTokenizer(where, fmt::format("merge {} is neither \"a b\" nor [\"a\", \"b\"]", rank));
    auto merge = ResolveMerge(index, halves->first, halves->second, rank, where);
    if (!merge) return merge.error();
    merges.push_back(*merge);
  }
  return merges;
}

// Options of BPE that no model of the kinds that this program knows uses.
Status CheckRareOptions(const json& model, std::string_view where) {
  const json* dropout = MemberOf(model, "dropout");
  if (dropout != nullptr && !(dropout->is_number() && dropout->get<double>() == 0.0)) {
    return UnsupportedPart(where, "a tokenizer with \"dropout\" (its ids are random)");
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const json* affix = MemberOf(model, key);
    if (affix != nullptr && *affix != "") {
      return UnsupportedPart(where, fmt::format("\"{}\" {}", key, ShortValue(*affix)));
    }
  }
  return {};
}

bool EndsWithByteLevel(const std::vector<PreTokenizerStep>& steps) {
  const auto is = [](const PreTokenizerStep& step) { return std::holds_alternative<ByteLevelStep>(step); };
  return !steps.empty() && is(steps.back()) && std::count_if(steps.begin(), steps.end(), is) == 1;
}

Status CheckBytes(const json& model, bool fallback, const VocabularyIndex& index, std::string_view where) {
  const auto missing = MissingByte(index);
  if (!missing || (!fallback && MemberOf(model, "unk_token") == nullptr)) return {};
  return UnsupportedPart(where, fmt::format("a byte-level vocabulary without byte 0x{:02x} but with \"{}\"", *missing,
                                            fallback ? "byte_fallback" : "unk_token"));
}

// The id of "unk_token"; -1 = there is none.
Result<std::int32_t> ReadUnknown(const json& model, const VocabularyIndex& index, std::string_view where) {
  if (MemberOf(model, "unk_token") == nullptr) return -1;
  auto token = TextOf(model, "unk_token", where);
  if (!token) return token.error();
  const auto found = index.find(*token);
  if (found != index.end()) return found->second;
  return BrokenTokenizer(where, fmt::format("\"unk_token\" is \"{}\", which the vocabulary lacks", *token));
}

Result<Tokenization> ReadBpe(const json& model, bool byte_level, std::string_view where) {
  if (auto status = CheckMembers(model, kBpeMembers, "\"model\"", where); !status) return status.error();
  auto vocabulary = ReadVocabularyObject(model, where);
  if (!vocabulary) return vocabulary.error();
  auto index = IndexVocabulary(*vocabulary, where);
  if (!index) return index.error();
  if (auto status = CheckRareOptions(model, where); !status) return status.error();
  auto fallback = FlagOf(model, "byte_fallback", false, where);
  if (!fallback) return fallback.error();
  auto fuse = FlagOf(model, "fuse_unk", false, where);
  if (!fuse) return fuse.error();
  auto ignore_merges = FlagOf(model, "ignore_merges", false, where);
  if (!ignore_merges) return ignore_merges.error();
  if (byte_level) {
    if (auto status = CheckBytes(model, *fallback, *index, where); !status) return status.error();
  }
  auto merges = ReadMergeList(model, *index, where);
  if (!merges) return merges.error();
  if (byte_level) return Tokenization(ByteLevelBpe{std::move(*vocabulary), std::move(*merges), *ignore_merges});
  auto unknown = ReadUnknown(model, *index, where);
  if (!unknown) return unknown.error();
  return Tokenization(
      CharacterBpe{std::move(*vocabulary), std::move(*merges), *unknown, *fuse, *fallback, *ignore_merges});
}

Result<Tokenization> ReadUnigram(const json& model, std::string_view where) {
  if (auto status = CheckMembers(model, kUnigramMembers, "\"model\"", where); !status) return status.error();
  auto entries = ArrayOf(model, "vocab", where);
  if (!entries) return entries.error();
  Unigram kind;
  for (const json& entry : **entries) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      return BrokenTokenizer(where, fmt::format("token {} of \"vocab\" is {}, want [\"token\", score]",
                                                kind.vocabulary.size(), ShortValue(entry)));
    }
    kind.vocabulary.push_back(entry[0].get<std::string>());
    kind.scores.push_back(entry[1].get<double>());
  }
  if (const json* unknown = MemberOf(model, "unk_id"); unknown != nullptr) {
    if (auto status = IdOf(*unknown, "unk_id", where).MoveTo(kind.unknown); !status) return status.error();
  }
  if (auto status = FlagOf(model, "byte_fallback", false, where).MoveTo(kind.byte_fallback); !status) {
    return status.error();
  }
  return Tokenization(std::move(kind));
}

std::string QuotedJson(std::string_view text) { return json(text).dump(); }

std::string VocabularyAndMergesJson(const std::vector<std::string>& vocabulary, const std::vector<BpeMerge>& merges) {
  std::string out = "\"vocab\": {";
  for (std::size_t id = 0; id < vocabulary.size(); ++id) {
    out += fmt::format("{}\n{}: {}", id == 0 ? "" : ",", QuotedJson(vocabulary[id]), id);
  }
  out += "},\n\"merges\": [";
  const auto spelled = [&](std::int32_t id) { return QuotedJson(vocabulary[static_cast<std::size_t>(id)]); };
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    out += fmt::format("{}\n[{}, {}]", rank == 0 ? "" : ",", spelled(merges[rank].left), spelled(merges[rank].right));
  }
  return out + "]}";
}

std::string BpeOptionsJson(std::string_view unknown, bool fuse, bool fallback, bool ignore_merges) {
  return fmt::format(
      "{{\"type\": \"BPE\", \"dropout\": null, \"unk_token\": {}, \"continuing_subword_prefix\": null,\n"
      "\"end_of_word_suffix\": null, \"fuse_unk\": {}, \"byte_fallback\": {}, \"ignore_merges\": {},\n",
      unknown, fuse, fallback, ignore_merges);
}

}  // namespace

Result<Tokenization> ReadModel(const json& model, const std::vector<PreTokenizerStep>& steps, std::string_view where) {
  if (!model.is_object()) return BrokenTokenizer(where, "\"model\" is not an object");
  const json* vocabulary = MemberOf(model, "vocab");
  std::string type = vocabulary != nullptr && vocabulary->is_array() ? "Unigram" : "BPE";
  if (MemberOf(model, "type") != nullptr) {
    if (auto status = TextOf(model, "type", where).MoveTo(type); !status) return status.error();
  }
  if (type == "BPE") return ReadBpe(model, EndsWithByteLevel(steps), where);
  if (type == "Unigram") return ReadUnigram(model, where);
  return UnsupportedPart(where, fmt::format("a tokenizer model of type \"{}\"", type));
}

std::string ModelJson(const ByteLevelBpe& kind) {
  return BpeOptionsJson("null", false, false, kind.ignore_merges) +
         VocabularyAndMergesJson(kind.vocabulary, kind.merges);
}

std::string ModelJson(const CharacterBpe& kind) {
  const std::string unknown =
      kind.unknown < 0 ? "null" : QuotedJson(kind.vocabulary[static_cast<std::size_t>(kind.unknown)]);
  return BpeOptionsJson(unknown, kind.fuse_unknown, kind.byte_fallback, kind.ignore_merges) +
         VocabularyAndMergesJson(kind.vocabulary, kind.merges);
}

std::string ModelJson(const Unigram& kind) {
  std::string out = fmt::format("{{\"type\": \"Unigram\", \"unk_id\": {}, \"byte_fallback\": {},\n\"vocab\": [",
                                kind.unknown < 0 ? "null" : std::to_string(kind.unknown), kind.byte_fallback);
  for (std::size_t id = 0; id < kind.vocabulary.size(); ++id) {
    out +=
        fmt::format("{}\n[{}, {}]", id == 0 ? "" : ",", QuotedJson(kind.vocabulary[id]), json(kind.scores[id]).dump());
  }
  return out + "]}";
}

}  // namespace marlin
