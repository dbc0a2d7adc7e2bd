// Gemma 2 and the text models of Gemma 3: norms before and after each part, stored as weight - 1; windows in most
// blocks.
#include <cmath>

#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"
#include "model/rope_config.h"

namespace marlin {
namespace {

constexpr Names kGemmaNames = {.mixer_norm = ".input_layernorm",
                               .feed_forward_norm = ".pre_feedforward_layernorm",
                               .after_mixer = ".post_attention_layernorm",
                               .after_feed_forward = ".post_feedforward_layernorm"};

struct GemmaSettings {
  Sizes sizes;
  std::vector<std::string> types;
  std::size_t window = 4096;
  double score_scale = 256;  // of queries: 1 / sqrt
  float attention_cap = 0, logit_cap = 0;
  DecoderStyle style;
};

Status ParseGemma(const Config& config, const Sizes& defaults, std::size_t period, GemmaSettings& out) {
  if (auto status = ParseSizes(config, defaults).MoveTo(out.sizes); !status) return status;
  // null says that there is none.
  if (config.Names("attn_logit_softcapping")) out.attention_cap = 0;
  if (config.Names("final_logit_softcapping")) out.logit_cap = 0;
  const Status read = ReadFields(config, {{"sliding_window", &out.window, true},
                                          {"query_pre_attn_scalar", &out.score_scale},
                                          {"attn_logit_softcapping", &out.attention_cap},
                                          {"final_logit_softcapping", &out.logit_cap},
                                          {"attention_bias", &out.style.attention_biases.qkv}});
  if (!read) return read;
  out.style.attention_biases.o = out.style.attention_biases.qkv;
  std::size_t pattern = period;
  // transformers writes it with an underscore.
  if (auto status = ReadFields(config, {{"sliding_window_pattern", &pattern}, {"_sliding_window_pattern", &pattern}});
      !status)
    return status;
  if (auto status = LayerTypes(config, out.sizes.blocks, {kSlidingLayer, kFullLayer}, EveryLayerIsFull(pattern))
                        .MoveTo(out.types);
      !status)
    return status;
  // Old configurations also have "hidden_act", which Hugging Face does not read.
  config.Has("hidden_act");
  out.style.names = kGemmaNames;
  return ParseActivation(config, "hidden_activation", "gelu_pytorch_tanh").MoveTo(out.style.activation);
}

// Ropes: of blocks with a window, of the others.
Description Describe(GemmaSettings& settings) {
  settings.style.adapt = [&](std::size_t block, Attention& attention) {
    const bool sliding = settings.types[block] == kSlidingLayer;
    if (sliding) attention.window = settings.window;
    attention.rope = sliding ? 0 : settings.style.ropes.size() - 1;
    attention.scale = static_cast<float>(1 / std::sqrt(settings.score_scale));
    attention.softcap = settings.attention_cap;
  };
  Description out = DescribeDecoder(settings.sizes, settings.style);
  out.embedding_scale = std::sqrt(static_cast<float>(settings.sizes.hidden));
  out.logit_softcap = settings.logit_cap;
  return out;
}

constexpr Norm kGemmaNorm = {NormKind::kRms, {}, {}, true, 1e-6f};

}  // namespace

Result<Description> DescribeGemma2(const Config& config) {
  GemmaSettings settings;
  settings.attention_cap = 50;
  settings.logit_cap = 30;
  const Sizes defaults = {256000, 2304, 26, 8, 4, 256, 9216, 8192, kGemmaNorm, true};
  if (auto status = ParseGemma(config, defaults, 2, settings); !status) return status.error();
  auto rope = ParseRope(
      config, {.head_dim = settings.sizes.head_dim, .context = settings.sizes.context, .layer_type = kFullLayer});
  if (!rope) return rope.error();
  settings.style.ropes = {*std::move(rope)};
  return Describe(settings);
}

Result<Description> DescribeGemma3(const Config& config) {
  GemmaSettings settings;
  settings.style.head_norms = HeadNorms::kEach;
  const Sizes defaults = {262208, 2304, 26, 8, 4, 256, 9216, 131072, kGemmaNorm, true};
  if (auto status = ParseGemma(config, defaults, 6, settings); !status) return status.error();
  const std::size_t head_dim = settings.sizes.head_dim, context = settings.sizes.context;
  auto near = ParseRope(config, {.head_dim = head_dim,
                                 .context = context,
                                 .theta_key = "rope_local_base_freq",
                                 .layer_type = kSlidingLayer,
                                 .old_scaling = false});
  if (!near) return near.error();
  auto far = ParseRope(config, {.head_dim = head_dim, .context = context, .theta = 1e6, .layer_type = kFullLayer});
  if (!far) return far.error();
  settings.style.ropes = {*std::move(near), *std::move(far)};
  return Describe(settings);
}

}  // namespace marlin
