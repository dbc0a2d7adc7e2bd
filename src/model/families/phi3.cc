// Phi-3, Phi-3.5 and Phi-4-mini: Llama with one tensor for queries, keys and values, and one for gate and up; LongRoPE.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "files/known_keys.h"
#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"
#include "model/rope_config.h"

namespace marlin {

Result<Description> DescribePhi3(const Config& config) {
  Sizes defaults;
  defaults.context = 4096;
  defaults.norm.eps = 1e-5f;
  const auto sizes = ParseSizes(config, defaults);
  if (!sizes) return sizes.error();
  std::size_t window = 0;  // none
  if (auto status = ReadFields(config, {{"sliding_window", &window, true}}); !status) return status.error();
  DecoderStyle style;
  style.fused_qkv = style.fused_gate_up = true;
  if (auto status = ParseActivation(config).MoveTo(style.activation); !status) return status.error();
  auto rope = ParseRope(config, {.head_dim = sizes->head_dim, .context = sizes->context, .may_be_partial = true});
  if (!rope) return rope.error();
  style.ropes = {*std::move(rope)};
  style.adapt = [&](std::size_t, Attention& attention) {
    if (window != 0) attention.window = window;
  };
  // The code beside published files computes what transformers does.
  if (config.Has("auto_map")) {
    constexpr const char* kOwn = "modeling_phi3.Phi3ForCausalLM";
    const nlohmann::json& map = config["auto_map"];
    const nlohmann::json code = map.is_object() ? map.value("AutoModelForCausalLM", nlohmann::json(kOwn)) : map;
    if (code != kOwn) {
      return UnsupportedConfig(
          fmt::format("\"auto_map\" names the code {}, and this program computes {}", ShortValue(code), kOwn));
    }
  }
  // Where no scaling reads it, the context before it was extended has no effect.
  config.Has("original_max_position_embeddings");
  return DescribeDecoder(*sizes, style);
}

}  // namespace marlin
