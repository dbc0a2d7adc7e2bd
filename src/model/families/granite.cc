// Granite: Llama with multipliers of the embedding, of attention scores, of what each part adds, and of the logits.
#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"
#include "model/rope_config.h"

namespace marlin {

Result<Description> DescribeGranite(const Config& config) {
  const auto sizes = ParseSizes(config);
  if (!sizes) return sizes.error();
  DecoderStyle style;
  bool biased = false;
  float embedding = 1, scores = 1, added = 1, logits = 1;
  const Status read = ReadFields(config, {{"attention_bias", &biased},
                                          {"mlp_bias", &style.feed_forward_bias},
                                          {"embedding_multiplier", &embedding},
                                          {"attention_multiplier", &scores},
                                          {"residual_multiplier", &added},
                                          {"logits_scaling", &logits}});
  if (!read) return read.error();
  style.attention_biases = {biased, biased};
  if (auto status = ParseActivation(config).MoveTo(style.activation); !status) return status.error();
  auto rope = ParseRope(config, {.head_dim = sizes->head_dim, .context = sizes->context});
  if (!rope) return rope.error();
  style.ropes = {*std::move(rope)};
  style.adapt = [&](std::size_t, Attention& attention) { attention.scale = scores; };
  Description out = DescribeDecoder(*sizes, style);
  out.embedding_scale = embedding;
  out.logit_scale = 1 / logits;
  for (Block& block : out.blocks) block.added_scale = added;
  return out;
}

}  // namespace marlin
