// Seed-OSS: Llama with biases of queries, keys and values.
#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"
#include "model/rope_config.h"

namespace marlin {

Result<Description> DescribeSeedOss(const Config& config) {
  Sizes defaults;
  defaults.kv_heads = 8;
  defaults.head_dim = 128;
  defaults.context = 524288;
  const auto sizes = ParseSizes(config, defaults);
  if (!sizes) return sizes.error();
  DecoderStyle style;
  style.attention_biases.qkv = true;
  const Status read = ReadFields(config, {{"attention_bias", &style.attention_biases.qkv},
                                          {"attention_out_bias", &style.attention_biases.o},
                                          {"mlp_bias", &style.feed_forward_bias}});
  if (!read) return read.error();
  config.Has("residual_dropout");  // training
  if (auto status = ParseActivation(config).MoveTo(style.activation); !status) return status.error();
  auto rope = ParseRope(config, {.head_dim = sizes->head_dim, .context = sizes->context});
  if (!rope) return rope.error();
  style.ropes = {*std::move(rope)};
  return DescribeDecoder(*sizes, style);
}

}  // namespace marlin
