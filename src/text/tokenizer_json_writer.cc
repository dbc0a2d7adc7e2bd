#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "text/tokenizer_json.h"

namespace marlin {
namespace {
using nlohmann::json;

// As a JSON string.
std::string Quoted(std::string_view text) { return json(text).dump(); }

json ByteLevelJson(const ByteLevelStep& step) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", step.add_prefix_space},
          {"trim_offsets", true},
          {"use_regex", step.use_regex}};
}

json StepJson(const PreTokenizerStep& step) {
  if (const auto* bytes = std::get_if<ByteLevelStep>(&step)) return ByteLevelJson(*bytes);
  if (const auto* digits = std::get_if<DigitsStep>(&step)) {
    return {{"type", "Digits"}, {"individual_digits", digits->individual}};
  }
  const auto& split = std::get<SplitStep>(step);
  std::string_view behavior;
  for (const auto& [name, value] : kSplitBehaviorNames) {
    if (value == split.behavior) behavior = name;
  }
  return {{"type", "Split"}, {"pattern", {{"Regex", split.pattern}}}, {"behavior", behavior}, {"invert", split.invert}};
}

json AddedTokensJson(const TokenizerSpec& spec) {
  json tokens = json::array();
  for (const AddedToken& token : spec.added) {
    tokens.push_back({{"id", token.id},
                      {"content", token.content},
                      {"single_word", token.single_word},
                      {"lstrip", token.lstrip},
                      {"rstrip", token.rstrip},
                      {"normalized", token.normalized},
                      {"special", token.special}});
  }
  return tokens;
}

// What depends on the kind of tokenization, as JSON.
struct KindJson {
  std::string normalizer, pre_tokenizer, decoder, model;
  json post_processor;  // that adds nothing
};

// Vocabulary and merges are printed by hand: in the order of their ids, which a json object would not keep.
std::string ModelJson(const ByteLevelBpe& kind) {
  std::string out =
      "{\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, \"continuing_subword_prefix\": null,\n";
  out += fmt::format(
      "\"end_of_word_suffix\": null, \"fuse_unk\": false, \"byte_fallback\": false, \"ignore_merges\": {},\n",
      kind.ignore_merges);
  out += "\"vocab\": {";
  for (std::size_t id = 0; id < kind.vocabulary.size(); ++id) {
    out += fmt::format("{}\n{}: {}", id == 0 ? "" : ",", Quoted(kind.vocabulary[id]), id);
  }
  out += "},\n\"merges\": [";
  const auto spelled = [&](std::int32_t id) { return Quoted(kind.vocabulary[static_cast<std::size_t>(id)]); };
  for (std::size_t rank = 0; rank < kind.merges.size(); ++rank) {
    const BpeMerge& merge = kind.merges[rank];
    out += fmt::format("{}\n[{}, {}]", rank == 0 ? "" : ",", spelled(merge.left), spelled(merge.right));
  }
  return out + "]}";
}

KindJson JsonOf(const ByteLevelBpe& kind) {
  json steps = json::array();
  for (const PreTokenizerStep& step : kind.steps) steps.push_back(StepJson(step));
  const json pre_tokenizer = steps.size() == 1 ? steps[0] : json{{"type", "Sequence"}, {"pretokenizers", steps}};
  const json normalizer = kind.nfc ? json{{"type", "NFC"}} : json();
  const json bytes = ByteLevelJson({false, true});
  return {normalizer.dump(), pre_tokenizer.dump(), bytes.dump(), ModelJson(kind), bytes};
}

json PostProcessorJson(const TokenizerSpec& spec, const json& adds_nothing) {
  if (!spec.adds_bos) return adds_nothing;
  const std::string bos(spec.Text(spec.bos));
  const json first = {{"SpecialToken", {{"id", bos}, {"type_id", 0}}}};
  const auto sequence = [](const char* id, int type) { return json{{"Sequence", {{"id", id}, {"type_id", type}}}}; };
  return {{"type", "TemplateProcessing"},
          {"single", json::array({first, sequence("A", 0)})},
          {"pair", json::array({first, sequence("A", 0), sequence("B", 1)})},
          {"special_tokens", {{bos, {{"id", bos}, {"ids", {spec.bos}}, {"tokens", {bos}}}}}}};
}

}  // namespace

std::string WriteTokenizerJson(const TokenizerSpec& spec) {
  const KindJson parts = std::visit([](const auto& kind) { return JsonOf(kind); }, spec.kind);
  std::string out = "{\n\"version\": \"1.0\",\n\"truncation\": null,\n\"padding\": null,\n";
  out += "\"added_tokens\": " + AddedTokensJson(spec).dump() + ",\n";
  out += "\"normalizer\": " + parts.normalizer + ",\n";
  out += "\"pre_tokenizer\": " + parts.pre_tokenizer + ",\n";
  out += "\"post_processor\": " + PostProcessorJson(spec, parts.post_processor).dump() + ",\n";
  out += "\"decoder\": " + parts.decoder + ",\n";
  return out + "\"model\": " + parts.model + "\n}\n";
}

std::string WriteTokenizerConfigJson(const TokenizerSpec& spec) {
  json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"add_bos_token", spec.adds_bos},
                 {"clean_up_tokenization_spaces", false}};
  const std::array<std::pair<const char*, std::int32_t>, 4> names = {
      {{"bos_token", spec.bos}, {"eos_token", spec.eos}, {"unk_token", spec.unknown}, {"pad_token", spec.padding}}};
  for (const auto& [key, id] : names) {
    if (id >= 0) config[key] = spec.Text(id);
  }
  if (!spec.chat_template.empty()) config["chat_template"] = spec.chat_template;
  return config.dump(2) + "\n";
}

}  // namespace marlin
