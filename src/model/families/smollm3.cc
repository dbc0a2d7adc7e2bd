// SmolLM3: Llama, but every fourth block has no positions.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"
#include "model/rope_config.h"

namespace marlin {
namespace {

// Whether each block turns its queries and keys: "no_rope_layers" (1: it does), or all but every n-th.
Result<std::vector<bool>> TurningBlocks(const Config& config, std::size_t blocks) {
  std::size_t interval = 4;
  if (auto status = ReadFields(config, {{"no_rope_layer_interval", &interval}}); !status) return status.error();
  std::vector<bool> turns(blocks);
  for (std::size_t i = 0; i < blocks; ++i) turns[i] = (i + 1) % interval != 0;
  if (!config.Has("no_rope_layers")) return turns;
  const nlohmann::json& given = config["no_rope_layers"];
  const auto wrong = BadConfig(fmt::format("\"no_rope_layers\" is no list of {} numbers 0 or 1", blocks));
  if (!given.is_array() || given.size() != blocks) return wrong;
  for (std::size_t i = 0; i < blocks; ++i) {
    if (given[i] != 0 && given[i] != 1) return wrong;
    turns[i] = given[i] == 1;
  }
  return turns;
}

}  // namespace

Result<Description> DescribeSmolLM3(const Config& config) {
  Sizes defaults;
  defaults.kv_heads = 4;
  defaults.context = 32768;
  defaults.tied = true;
  const auto sizes = ParseSizes(config, defaults);
  if (!sizes) return sizes.error();
  const auto turns = TurningBlocks(config, sizes->blocks);
  if (!turns) return turns.error();
  DecoderStyle style;
  bool biased = false, used = false;
  std::size_t window = 0;
  const Status read = ReadFields(config, {{"attention_bias", &biased},
                                          {"mlp_bias", &style.feed_forward_bias},
                                          {"use_sliding_window", &used},
                                          {"sliding_window", &window, true}});
  if (!read) return read.error();
  style.attention_biases = {biased, biased};
  config.Has("pretraining_tp");  // published as 2; transformers does not read it
  const auto types = LayerTypes(config, sizes->blocks, {kSlidingLayer, kFullLayer}, [&](std::size_t block) {
    return used && window != 0 && !(*turns)[block] ? kSlidingLayer : kFullLayer;
  });
  if (!types) return types.error();
  if (auto status = ParseActivation(config).MoveTo(style.activation); !status) return status.error();
  auto rope = ParseRope(config, {.head_dim = sizes->head_dim, .context = sizes->context, .theta = 2e6});
  if (!rope) return rope.error();
  style.ropes = {*std::move(rope)};
  style.adapt = [&](std::size_t block, Attention& attention) {
    if (!(*turns)[block]) attention.rope.reset();
    if ((*types)[block] == kSlidingLayer && window != 0) attention.window = window;
  };
  return DescribeDecoder(*sizes, style);
}

}  // namespace marlin
