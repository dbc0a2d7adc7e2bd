// GLM-4, dense: pairs of neighbours turn in half of each head; one tensor for gate and up. GLM-4-0414 (Glm4) also norms
// what each part adds; GLM-4-9B (Glm) does not.
#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"
#include "model/rope_config.h"

namespace marlin {
namespace {

Result<Description> DescribeGlmAs(const Config& config, const Names& names) {
  Sizes defaults;
  defaults.kv_heads = 2;
  defaults.head_dim = 128;
  defaults.context = 131072;
  defaults.norm.eps = 1.5625e-7f;
  const auto sizes = ParseSizes(config, defaults);
  if (!sizes) return sizes.error();
  DecoderStyle style;
  style.names = names;
  style.fused_gate_up = true;
  style.attention_biases.qkv = true;
  if (auto status = ReadFields(config, {{"attention_bias", &style.attention_biases.qkv}}); !status)
    return status.error();
  if (auto status = ParseActivation(config).MoveTo(style.activation); !status) return status.error();
  auto rope = ParseRope(config, {.head_dim = sizes->head_dim,
                                 .context = sizes->context,
                                 .rotary_share = 0.5,
                                 .may_be_partial = true,
                                 .neighbours = true});
  if (!rope) return rope.error();
  style.ropes = {*std::move(rope)};
  return DescribeDecoder(*sizes, style);
}

}  // namespace

Result<Description> DescribeGlm(const Config& config) { return DescribeGlmAs(config, {}); }

Result<Description> DescribeGlm4(const Config& config) {
  return DescribeGlmAs(config,
                       {.after_mixer = ".post_self_attn_layernorm", .after_feed_forward = ".post_mlp_layernorm"});
}

}  // namespace marlin
