#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "text/tokenizer_json.h"
#include "text/tokenizer_json_model.h"
#include "text/tokenizer_json_steps.h"

namespace marlin {
namespace {
using nlohmann::json;

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

json PostProcessorJson(const TokenizerSpec& spec, const json& adds_nothing) {
  if (!spec.adds_bos) return adds_nothing;
  std::vector<std::int32_t> ids = spec.before_bos;
  ids.push_back(spec.bos);
  json single = json::array();
  json special_tokens = json::object();
  for (const std::int32_t id : ids) {
    const std::string name(spec.Text(id));
    single.push_back({{"SpecialToken", {{"id", name}, {"type_id", 0}}}});
    special_tokens[name] = {{"id", name}, {"ids", {id}}, {"tokens", {name}}};
  }
  const auto sequence = [](const char* id, int type) { return json{{"Sequence", {{"id", id}, {"type_id", type}}}}; };
  single.push_back(sequence("A", 0));
  json pair = single;
  pair.push_back(sequence("B", 1));
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special_tokens}};
}

}  // namespace

std::string WriteTokenizerJson(const TokenizerSpec& spec) {
  const bool byte_level = std::holds_alternative<ByteLevelBpe>(spec.kind);
  const json bytes = ByteLevelJson({false, true});
  std::string out = "{\n\"version\": \"1.0\",\n\"truncation\": null,\n\"padding\": null,\n";
  out += "\"added_tokens\": " + AddedTokensJson(spec).dump() + ",\n";
  out += "\"normalizer\": " + NormalizerJson(spec.normalizer).dump() + ",\n";
  out += "\"pre_tokenizer\": " + PreTokenizerJson(spec.pre_tokenizer).dump() + ",\n";
  out += "\"post_processor\": " + PostProcessorJson(spec, byte_level ? bytes : json()).dump() + ",\n";
  out += "\"decoder\": " + (byte_level ? bytes : DecoderJson(spec.decoder)).dump() + ",\n";
  const std::string model = std::visit([](const auto& kind) { return ModelJson(kind); }, spec.kind);
  return out + "\"model\": " + model + "\n}\n";
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
