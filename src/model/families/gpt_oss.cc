// gpt-oss: sinks in attention, every second block with a window, and experts with biases, stacked and transposed, whose
// gate and up rows alternate.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"

namespace marlin {
namespace {
using nlohmann::json;

// Gate and up are clamped, and 1 is added to up: neither can absorb what down scales up.
Experts AddExperts(DescriptionBuilder& builder, Block& block, const std::string& stem, const Sizes& s,
                   std::size_t count, std::size_t chosen, float limit) {
  Experts out;
  out.router = builder.Linear(block, stem + ".router", count, s.hidden, true);
  block.matrices[out.router].keep_16_bits = true;
  out.routing = Routing::kTopThenSoftmax;
  out.chosen = chosen;
  block.inputs.push_back({{out.router}, OfNorm(block.feed_forward_norm), {}});
  const std::string name = stem + ".experts";
  for (std::size_t e = 0; e < count; ++e) {
    const std::string own = fmt::format("{}[{}]", name, e);
    FeedForward part;
    part.gate = builder.Slices(
        block, {name + ".gate_up_proj", name + ".gate_up_proj_bias", own, 2 * s.intermediate, s.hidden, true, count, e},
        {{".gate_proj", s.intermediate, {0, 1, 2}}, {".up_proj", s.intermediate, {1, 1, 2}}});
    part.up = *part.gate + 1;
    part.down = builder.Slices(
        block, {name + ".down_proj", name + ".down_proj_bias", own, s.hidden, s.intermediate, true, count, e},
        {{".down_proj", s.hidden, AllRows(s.hidden)}});
    block.matrices[part.down].adds_to_hidden = true;
    part.limit = limit;
    block.inputs.push_back({{*part.gate, part.up}, OfNorm(block.feed_forward_norm), e});
    block.inputs.push_back({{part.down}, {}, e});
    out.experts.push_back(part);
  }
  return out;
}

}  // namespace

Result<Description> DescribeGptOss(const json& config) {
  const auto sizes = ParseSizes(config);
  if (!sizes) return sizes.error();
  const auto types = LayerTypes(config, sizes->blocks);
  if (!types) return types.error();
  const auto window = SizeOf(config, "sliding_window");
  if (!window) return window.error();
  const auto experts = SizeOf(config, "num_local_experts");
  if (!experts) return experts.error();
  const auto chosen = SizeOf(config, "num_experts_per_tok");
  if (!chosen) return chosen.error();
  const auto limit = RealOf(config, "swiglu_limit", 7);
  if (!limit) return limit.error();
  const auto bias = FlagOf(config, "attention_bias", true);
  if (!bias) return bias.error();
  Description out;
  DescriptionBuilder builder(out);
  const Norm norm{NormKind::kRms, {}, {}, false, sizes->norm_eps};
  AddAround(out, builder, *sizes, norm);
  out.ropes.push_back({sizes->head_dim, false, {}});
  out.caches = sizes->blocks;
  for (std::size_t i = 0; i < sizes->blocks; ++i) {
    const std::string stem = fmt::format("model.layers.{}", i);
    Block& block = out.blocks.emplace_back();
    block.mixer_norm = builder.AddNorm(block, stem + ".input_layernorm", sizes->hidden, norm);
    Attention attention = AddAttention(builder, block, stem + ".self_attn", *sizes, {*bias, *bias});
    attention.sinks = builder.Values(block, stem + ".self_attn.sinks", {sizes->heads});
    attention.rope = 0;
    attention.cache = i;
    if ((*types)[i] == "sliding_attention") {
      attention.window = *window;
    } else if ((*types)[i] != "full_attention") {
      return UnsupportedConfig(fmt::format("layer type \"{}\" is not known", (*types)[i]));
    }
    block.mixer = attention;
    block.feed_forward_norm = builder.AddNorm(block, stem + ".post_attention_layernorm", sizes->hidden, norm);
    block.feed_forward =
        AddExperts(builder, block, stem + ".mlp", *sizes, *experts, *chosen, static_cast<float>(*limit));
  }
  return out;
}

}  // namespace marlin
