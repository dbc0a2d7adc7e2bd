#include "model/mlx_config.h"

#include <nlohmann/json.hpp>

namespace marlin {
namespace {
using nlohmann::json;

// A key that is missing, or null, gets a value.
void SetMissing(json& config, const char* key, const json& value) {
  if (value.is_null()) return;
  json& place = config[key];
  if (place.is_null()) place = value;
}

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

}  // namespace

json MlxConfig(const json& config, const Description& description) {
  json out = config;
  out["tie_word_embeddings"] = description.tied_head();
  const json rope = Get(config, "rope_parameters");
  const json full = Get(rope, "full_attention");
  const json& all = full.is_null() ? rope : full;
  SetMissing(out, "rope_theta", Get(all, "rope_theta"));
  SetMissing(out, "rope_scaling", ScalingOf(all));
  SetMissing(out, "partial_rotary_factor", Get(all, "partial_rotary_factor"));
  SetMissing(out, "original_max_position_embeddings", Get(all, "original_max_position_embeddings"));
  SetMissing(out, "rope_local_base_freq", Get(Get(rope, "sliding_attention"), "rope_theta"));
  return out;
}

}  // namespace marlin
