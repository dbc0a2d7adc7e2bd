// Qwen3.5: blocks of gated DeltaNet, and among them blocks of attention whose output is scaled by a sigmoid.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"

namespace marlin {
namespace {
using nlohmann::json;

// The rows of q_proj are (query, gate) of one head after the other.
Attention AddGatedAttention(DescriptionBuilder& builder, Block& block, const std::string& stem, const Sizes& s,
                            const Norm& norm) {
  const std::size_t q_size = s.heads * s.head_dim;
  const std::size_t kv_size = s.kv_heads * s.head_dim;
  Attention out = AttentionOfSizes(s);
  out.q = builder.Slices(block, {stem + ".q_proj.weight", "", stem + ".q_proj", 2 * q_size, s.hidden},
                         {{".query", q_size, {0, s.head_dim, 2 * s.head_dim}},
                          {".gate", q_size, {s.head_dim, s.head_dim, 2 * s.head_dim}}});
  out.gate = out.q + 1;
  out.k = builder.Linear(block, stem + ".k_proj", kv_size, s.hidden);
  out.v = builder.Linear(block, stem + ".v_proj", kv_size, s.hidden);
  out.o = builder.Linear(block, stem + ".o_proj", s.hidden, q_size);
  block.matrices[out.o].adds_to_hidden = true;
  out.q_norm = builder.AddNorm(block, stem + ".q_norm", s.head_dim, norm);
  out.k_norm = builder.AddNorm(block, stem + ".k_norm", s.head_dim, norm);
  out.rope = 0;
  AddAttentionInputs(block, out);
  return out;
}

struct LinearSizes {
  std::size_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0, taps = 0;
};

Result<LinearSizes> ParseLinearSizes(const json& config) {
  LinearSizes out;
  const Status read = ReadSizes(config, {{"linear_num_key_heads", &out.key_heads},
                                         {"linear_num_value_heads", &out.value_heads},
                                         {"linear_key_head_dim", &out.key_dim},
                                         {"linear_value_head_dim", &out.value_dim},
                                         {"linear_conv_kernel_dim", &out.taps}});
  if (!read) return read.error();
  return out;
}

// What o reads has no absorber: its norm has one weight for the same channel of all heads.
DeltaNet AddDeltaNet(DescriptionBuilder& builder, Block& block, const std::string& stem, std::size_t hidden,
                     const LinearSizes& s, float eps) {
  const std::size_t values = s.value_heads * s.value_dim;
  const std::size_t channels = 2 * s.key_heads * s.key_dim + values;
  DeltaNet out;
  out.key_heads = s.key_heads;
  out.value_heads = s.value_heads;
  out.key_dim = s.key_dim;
  out.value_dim = s.value_dim;
  out.taps = s.taps;
  out.qkv = builder.Linear(block, stem + ".in_proj_qkv", channels, hidden);
  out.gate = builder.Linear(block, stem + ".in_proj_z", values, hidden);
  out.beta = builder.Linear(block, stem + ".in_proj_b", s.value_heads, hidden);
  out.decay = builder.Linear(block, stem + ".in_proj_a", s.value_heads, hidden);
  block.matrices[out.beta].keep_16_bits = block.matrices[out.decay].keep_16_bits = true;
  out.o = builder.Linear(block, stem + ".out_proj", hidden, values);
  block.matrices[out.o].adds_to_hidden = true;
  out.convolution = builder.Values(block, stem + ".conv1d.weight", {channels, 1, s.taps});
  out.log_decay = builder.Values(block, stem + ".A_log", {s.value_heads});
  out.decay_bias = builder.Values(block, stem + ".dt_bias", {s.value_heads});
  out.norm = builder.AddNorm(block, stem + ".norm", s.value_dim, {NormKind::kRms, {}, {}, false, eps});
  block.inputs.push_back({{out.qkv, out.gate, out.beta, out.decay}, OfNorm(block.mixer_norm), {}});
  block.inputs.push_back({{out.o}, {}, {}});
  return out;
}

}  // namespace

Result<Description> DescribeQwen35(const json& config) {
  const auto sizes = ParseSizes(config);
  if (!sizes) return sizes.error();
  const auto linear = ParseLinearSizes(config);
  if (!linear) return linear.error();
  const auto types = LayerTypes(config, sizes->blocks);
  if (!types) return types.error();
  Description out;
  DescriptionBuilder builder(out);
  const Norm norm{NormKind::kRms, {}, {}, true, sizes->norm_eps};
  AddAround(out, builder, *sizes, norm);
  out.ropes.push_back({sizes->head_dim / 4, false, {}});
  out.caches = sizes->blocks;
  for (std::size_t i = 0; i < sizes->blocks; ++i) {
    const std::string stem = fmt::format("model.layers.{}", i);
    Block& block = out.blocks.emplace_back();
    block.mixer_norm = builder.AddNorm(block, stem + ".input_layernorm", sizes->hidden, norm);
    if ((*types)[i] == "full_attention") {
      Attention attention = AddGatedAttention(builder, block, stem + ".self_attn", *sizes, norm);
      attention.cache = i;
      block.mixer = attention;
    } else if ((*types)[i] == "linear_attention") {
      DeltaNet net = AddDeltaNet(builder, block, stem + ".linear_attn", sizes->hidden, *linear, sizes->norm_eps);
      net.cache = i;
      block.mixer = net;
    } else {
      return UnsupportedConfig(fmt::format("layer type \"{}\" is not known", (*types)[i]));
    }
    block.feed_forward_norm = builder.AddNorm(block, stem + ".post_attention_layernorm", sizes->hidden, norm);
    block.feed_forward = AddGated(builder, block, stem + ".mlp", sizes->hidden, sizes->intermediate, false,
                                  OfNorm(block.feed_forward_norm));
  }
  return out;
}

}  // namespace marlin
