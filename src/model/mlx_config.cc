#include "model/mlx_config.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "model/families/family.h"
#include "model/same_description.h"

namespace marlin {
namespace {
using nlohmann::json;

json Get(const json& object, const char* key) { return object.is_object() ? object.value(key, json()) : json(); }

// Settings that turn pairs otherwise than theta alone.
json ScalingOf(const json& rope) {
  const json type = Get(rope, "rope_type");
  if (type.is_null() || type == "default") return nullptr;
  json scaling = rope;
  scaling.erase("rope_theta");
  scaling["type"] = type;
  return scaling;
}

// Whether this program finds the same model in a configuration.
bool Says(const json& config, const Description& description) {
  const auto read = DescribeModel(config);
  return read.ok() && !FirstDifference(description, *read);
}

// A key that is missing, or null, gets a value, where the family knows the key and the model stays the same with it.
void SetMissing(json& config, const char* key, const json& value, const Description& description) {
  if (value.is_null() || !description.read_keys.contains(key) || !Get(config, key).is_null()) return;
  json with = config;
  with[key] = value;
  if (Says(with, description)) config = std::move(with);
}

// Gemma 4: the heads of full blocks under keys of their own instead of those of each block.
json NameGlobalHeads(json config, const Description& description) {
  const json blocks = Get(config, "per_layer_config");
  if (!blocks.is_object() || blocks.empty()) return config;
  json with = config;
  with.erase("per_layer_config");
  with["global_head_dim"] = Get(blocks.front(), "head_dim");
  with["num_global_key_value_heads"] = Get(blocks.front(), "num_key_value_heads");
  return Says(with, description) ? with : config;
}

}  // namespace

json MlxConfig(const json& config, const Description& description) {
  json out = config;
  out["tie_word_embeddings"] = description.tied_head();
  const json rope = Get(config, "rope_parameters");
  const json full = Get(rope, "full_attention");
  const json& all = full.is_null() ? rope : full;
  const auto add = [&](const char* key, const json& value) { SetMissing(out, key, value, description); };
  add("rope_local_base_freq", Get(Get(rope, "sliding_attention"), "rope_theta"));
  for (const char* key : {"rope_theta", "partial_rotary_factor", "original_max_position_embeddings"}) {
    add(key, Get(all, key));
  }
  add("rope_scaling", ScalingOf(all));
  // GPT-NeoX.
  add("rotary_emb_base", Get(all, "rope_theta"));
  add("rotary_pct", Get(all, "partial_rotary_factor"));
  return NameGlobalHeads(std::move(out), description);
}

}  // namespace marlin
