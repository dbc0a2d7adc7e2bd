// OLMo 2 and OLMo 3: norms of what each part adds and none before it; queries and keys are normed over all heads
// together. OLMo 3 has windows in three of four blocks, and its scaled rope only in the others.
#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"
#include "model/rope_config.h"

namespace marlin {
namespace {

constexpr Names kOlmoNames = {.mixer_norm = nullptr,
                              .feed_forward_norm = nullptr,
                              .after_mixer = ".post_attention_layernorm",
                              .after_feed_forward = ".post_feedforward_layernorm"};

struct OlmoSettings {
  Sizes sizes;
  DecoderStyle style;
};

Status ParseOlmo(const Config& config, OlmoSettings& out) {
  Sizes defaults;
  defaults.norm.eps = 1e-5f;
  if (auto status = ParseSizes(config, defaults).MoveTo(out.sizes); !status) return status;
  bool biased = false;
  if (auto status = ReadFields(config, {{"attention_bias", &biased}}); !status) return status;
  out.style.names = kOlmoNames;
  out.style.head_norms = HeadNorms::kTogether;
  out.style.attention_biases = {biased, biased};
  return ParseActivation(config).MoveTo(out.style.activation);
}

}  // namespace

Result<Description> DescribeOlmo2(const Config& config) {
  OlmoSettings settings;
  if (auto status = ParseOlmo(config, settings); !status) return status.error();
  auto rope = ParseRope(config, {.head_dim = settings.sizes.head_dim, .context = settings.sizes.context});
  if (!rope) return rope.error();
  settings.style.ropes = {*std::move(rope)};
  return DescribeDecoder(settings.sizes, settings.style);
}

Result<Description> DescribeOlmo3(const Config& config) {
  OlmoSettings settings;
  if (auto status = ParseOlmo(config, settings); !status) return status.error();
  std::size_t window = 4096;
  if (auto status = ReadFields(config, {{"sliding_window", &window, true}}); !status) return status.error();
  const auto types = LayerTypes(config, settings.sizes.blocks, {kSlidingLayer, kFullLayer}, EveryLayerIsFull(4));
  if (!types) return types.error();
  RopeRequest request{.head_dim = settings.sizes.head_dim, .context = settings.sizes.context, .theta = 500000};
  for (const char* type : {kSlidingLayer, kFullLayer}) {
    request.layer_type = type;
    request.old_scaling = type == kFullLayer;
    auto rope = ParseRope(config, request);
    if (!rope) return rope.error();
    settings.style.ropes.push_back(*std::move(rope));
  }
  settings.style.adapt = [&](std::size_t block, Attention& attention) {
    const bool sliding = (*types)[block] == kSlidingLayer;
    if (sliding) attention.window = window;
    attention.rope = sliding ? 0 : 1;
  };
  return DescribeDecoder(settings.sizes, settings.style);
}

}  // namespace marlin
