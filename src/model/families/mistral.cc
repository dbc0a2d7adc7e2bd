// Mistral and Ministral: Llama with windows. Ministral 3: YaRN, and queries that grow with their position.
#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"
#include "model/rope_config.h"

namespace marlin {
namespace {

Sizes MistralDefaults(std::size_t head_dim, float eps, std::size_t context) {
  Sizes sizes;
  sizes.kv_heads = 8;
  sizes.head_dim = head_dim;
  sizes.context = context;
  sizes.norm.eps = eps;
  return sizes;
}

struct MistralSettings {
  Sizes sizes;
  DecoderStyle style;
  std::size_t window = 0;
};

// `window`: where no key gives it.
Status ParseMistral(const Config& config, const Sizes& defaults, std::size_t window, MistralSettings& out) {
  if (auto status = ParseSizes(config, defaults).MoveTo(out.sizes); !status) return status;
  // null says that there is none.
  out.window = config.Names("sliding_window") ? 0 : window;
  if (auto status = ReadFields(config, {{"sliding_window", &out.window, true}}); !status) return status;
  if (auto status = ParseActivation(config).MoveTo(out.style.activation); !status) return status;
  auto rope = ParseRope(config, {.head_dim = out.sizes.head_dim, .context = out.sizes.context});
  if (!rope) return rope.error();
  out.style.ropes = {*std::move(rope)};
  return {};
}

Description Describe(MistralSettings& settings, const std::vector<std::string>& types) {
  settings.style.adapt = [&](std::size_t block, Attention& attention) {
    const bool sliding = types.empty() || types[block] == kSlidingLayer;
    if (sliding && settings.window != 0) attention.window = settings.window;
  };
  return DescribeDecoder(settings.sizes, settings.style);
}

}  // namespace

Result<Description> DescribeMistral(const Config& config) {
  MistralSettings settings;
  if (auto status = ParseMistral(config, MistralDefaults(0, 1e-6f, 131072), 4096, settings); !status)
    return status.error();
  return Describe(settings, {});
}

Result<Description> DescribeMinistral(const Config& config) {
  MistralSettings settings;
  if (auto status = ParseMistral(config, MistralDefaults(0, 1e-6f, 131072), 4096, settings); !status)
    return status.error();
  const char* const usual = settings.window != 0 ? kSlidingLayer : kFullLayer;
  const auto types =
      LayerTypes(config, settings.sizes.blocks, {kSlidingLayer, kFullLayer}, [&](std::size_t) { return usual; });
  if (!types) return types.error();
  return Describe(settings, *types);
}

Result<Description> DescribeMinistral3(const Config& config) {
  MistralSettings settings;
  if (auto status = ParseMistral(config, MistralDefaults(128, 1e-5f, 262144), 0, settings); !status)
    return status.error();
  return Describe(settings, {});
}

}  // namespace marlin
