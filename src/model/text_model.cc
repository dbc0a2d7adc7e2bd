#include "model/text_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "files/known_keys.h"
#include "model/config_fields.h"
#include "model/families/family.h"

namespace marlin {
namespace {
using nlohmann::json;

// How the tensors of a text model begin inside a multimodal one, and alone.
struct Prefix {
  std::string_view inside, alone;
};
// One spelling of all of them (Hugging Face transformers: the checkpoints of today, and those before version 4.52).
using Prefixes = std::array<Prefix, 2>;
constexpr std::array kSpellings = {
    Prefixes{Prefix{"model.language_model.", "model."}, Prefix{"lm_head.", "lm_head."}},
    Prefixes{Prefix{"language_model.model.", "model."}, Prefix{"language_model.lm_head.", "lm_head."}},
};

// Settings of the whole that hold for the text model, unless it has its own.
constexpr std::array kInherited = {"tie_word_embeddings", "quantization_config", "bos_token_id", "eos_token_id",
                                   "pad_token_id",        "torch_dtype",         "dtype"};

bool Has(const json& object, const char* key) { return object.contains(key) && !object[key].is_null(); }

Result<json> TextConfig(const json& whole) {
  const json& inner = whole["text_config"];
  if (!inner.is_object()) return BadConfig("\"text_config\" is not an object");
  if (!inner.contains("model_type") || !inner["model_type"].is_string()) {
    return BadConfig("\"text_config\" has no \"model_type\"");
  }
  const auto family = FindFamilyOfType(inner["model_type"].get<std::string>());
  if (!family) return family.error();
  json config = inner;
  config["architectures"] = json::array({(*family)->architecture});
  for (const char* key : kInherited) {
    if (!Has(config, key) && Has(whole, key)) config[key] = whole[key];
  }
  return config;
}

bool TakeTensor(Tensor& tensor) {
  for (const Prefixes& spelling : kSpellings) {
    for (const Prefix& prefix : spelling) {
      if (!tensor.name.starts_with(prefix.inside)) continue;
      tensor.name.replace(0, prefix.inside.size(), prefix.alone);
      return true;
    }
  }
  return false;
}

// The spelling that the tensors have; that of today if none has any.
const Prefixes& SpellingOf(const std::vector<Tensor>& tensors) {
  const auto spelled = [&](const Prefixes& spelling) {
    return std::ranges::any_of(tensors, [&](const Tensor& t) { return t.name.starts_with(spelling[0].inside); });
  };
  const auto found = std::ranges::find_if(kSpellings, spelled);
  return found == kSpellings.end() ? kSpellings[0] : *found;
}

std::string NameInside(const Prefixes& spelling, std::string_view name) {
  for (const Prefix& prefix : spelling) {
    if (name.starts_with(prefix.alone)) return fmt::format("{}{}", prefix.inside, name.substr(prefix.alone.size()));
  }
  return std::string(name);
}

}  // namespace

Status TakeTextModel(Checkpoint& checkpoint) {
  if (!checkpoint.config.is_object() || !Has(checkpoint.config, "text_config")) return {};
  auto config = TextConfig(checkpoint.config);
  if (!config) return config.error();
  checkpoint.config = *std::move(config);
  const Prefixes& spelling = SpellingOf(checkpoint.tensors);
  checkpoint.name_in_files = [&spelling](std::string_view name) { return NameInside(spelling, name); };
  std::vector<Tensor> tensors;
  for (Tensor& tensor : checkpoint.tensors) {
    if (TakeTensor(tensor)) {
      tensors.push_back(std::move(tensor));
    } else {
      checkpoint.left_out.push_back(tensor.name);
    }
  }
  checkpoint.Replace(std::move(tensors));
  return {};
}

}  // namespace marlin
