// Phi-3: Llama with one tensor for queries, keys and values, and one for gate and up.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"

namespace marlin {
namespace {
using nlohmann::json;

Attention AddFusedAttention(DescriptionBuilder& builder, Block& block, const std::string& stem, const Sizes& s) {
  const std::size_t q_size = s.heads * s.head_dim;
  const std::size_t kv_size = s.kv_heads * s.head_dim;
  Attention out = AttentionOfSizes(s);
  out.q = builder.Slices(block, {stem + ".qkv_proj.weight", "", stem + ".qkv_proj", q_size + 2 * kv_size, s.hidden},
                         {{".query", q_size, AllRows(q_size)},
                          {".key", kv_size, {q_size, kv_size, kv_size}},
                          {".value", kv_size, {q_size + kv_size, kv_size, kv_size}}});
  out.k = out.q + 1;
  out.v = out.q + 2;
  out.o = builder.Linear(block, stem + ".o_proj", s.hidden, q_size);
  block.matrices[out.o].adds_to_hidden = true;
  out.rope = 0;
  AddAttentionInputs(block, out);
  return out;
}

FeedForward AddFusedGated(DescriptionBuilder& builder, Block& block, const std::string& stem, const Sizes& s) {
  FeedForward out;
  out.gate =
      builder.Slices(block, {stem + ".gate_up_proj.weight", "", stem + ".gate_up_proj", 2 * s.intermediate, s.hidden},
                     {{".gate", s.intermediate, AllRows(s.intermediate)},
                      {".up", s.intermediate, {s.intermediate, s.intermediate, s.intermediate}}});
  out.up = *out.gate + 1;
  out.down = builder.Linear(block, stem + ".down_proj", s.hidden, s.intermediate);
  block.matrices[out.down].adds_to_hidden = true;
  block.inputs.push_back({{*out.gate, out.up}, OfNorm(block.feed_forward_norm), {}});
  block.inputs.push_back({{out.down}, OfRows(out.up, s.intermediate), {}});
  return out;
}

}  // namespace

Result<Description> DescribePhi3(const json& config) {
  const auto sizes = ParseSizes(config);
  if (!sizes) return sizes.error();
  const auto rotary = RealOf(config, "partial_rotary_factor", 1);
  if (!rotary) return rotary.error();
  std::optional<std::size_t> window;
  if (HasKey(config, "sliding_window")) {
    const auto size = SizeOf(config, "sliding_window");
    if (!size) return size.error();
    window = *size;
  }
  Description out;
  DescriptionBuilder builder(out);
  const Norm norm{NormKind::kRms, {}, {}, false, sizes->norm_eps};
  AddAround(out, builder, *sizes, norm);
  out.ropes.push_back({static_cast<std::size_t>(static_cast<double>(sizes->head_dim) * *rotary), false, {}});
  out.caches = sizes->blocks;
  for (std::size_t i = 0; i < sizes->blocks; ++i) {
    const std::string stem = fmt::format("model.layers.{}", i);
    Block& block = out.blocks.emplace_back();
    block.mixer_norm = builder.AddNorm(block, stem + ".input_layernorm", sizes->hidden, norm);
    Attention attention = AddFusedAttention(builder, block, stem + ".self_attn", *sizes);
    attention.cache = i;
    attention.window = window;
    block.mixer = attention;
    block.feed_forward_norm = builder.AddNorm(block, stem + ".post_attention_layernorm", sizes->hidden, norm);
    block.feed_forward = AddFusedGated(builder, block, stem + ".mlp", *sizes);
  }
  return out;
}

}  // namespace marlin
