// Qwen3.5: blocks of gated DeltaNet, and among them blocks of attention whose output is scaled by a sigmoid.
#include <nlohmann/json.hpp>

#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"

namespace marlin {
namespace {
using nlohmann::json;

// The rows of q_proj are (query, gate) of one head after the other.
Attention AddGatedAttention(const BlockBuilder& to, const Sizes& s) {
  const std::size_t d = s.head_dim;
  const std::size_t q_size = s.heads * d;
  const std::size_t kv_size = s.kv_heads * d;
  Attention out = AttentionOfSizes(s);
  out.q = to.Slices(".q_proj", {{".query", q_size, {0, d, 2 * d}}, {".gate", q_size, {d, d, 2 * d}}}, s.hidden);
  out.gate = out.q + 1;
  out.k = to.Linear(".k_proj", kv_size, s.hidden);
  out.v = to.Linear(".v_proj", kv_size, s.hidden);
  out.o = to.Linear(".o_proj", s.hidden, q_size);
  out.q_norm = to.AddNorm(".q_norm", d, s.norm);
  out.k_norm = to.AddNorm(".k_norm", d, s.norm);
  AddAttentionInputs(to, out, OfValues(s, *out.v));
  return out;
}

// Sizes; no parts yet.
Result<DeltaNet> ParseDeltaNet(const Config& config) {
  DeltaNet out;
  const Status read = ReadFields(config, {{"linear_num_key_heads", &out.key_heads},
                                          {"linear_num_value_heads", &out.value_heads},
                                          {"linear_key_head_dim", &out.key_dim},
                                          {"linear_value_head_dim", &out.value_dim},
                                          {"linear_conv_kernel_dim", &out.taps}});
  if (!read) return read.error();
  return out;
}

// What o reads has no absorber: its norm has one weight for the same channel of all heads.
DeltaNet AddDeltaNet(const BlockBuilder& to, const Sizes& s, DeltaNet out) {
  const std::size_t values = out.value_heads * out.value_dim;
  const std::size_t channels = 2 * out.key_heads * out.key_dim + values;
  Norm norm = s.norm;
  norm.plus_one = false;
  out.qkv = to.Linear(".in_proj_qkv", channels, s.hidden);
  out.gate = to.Linear(".in_proj_z", values, s.hidden);
  out.beta = to.Linear(".in_proj_b", out.value_heads, s.hidden);
  out.decay = to.Linear(".in_proj_a", out.value_heads, s.hidden);
  to.block.matrices[out.beta].keep_16_bits = to.block.matrices[out.decay].keep_16_bits = true;
  out.o = to.Linear(".out_proj", s.hidden, values);
  out.convolution = to.Values(".conv1d.weight", {channels, 1, out.taps});
  out.log_decay = to.Values(".A_log", {out.value_heads});
  out.decay_bias = to.Values(".dt_bias", {out.value_heads});
  out.norm = to.AddNorm(".norm", out.value_dim, norm);
  to.block.inputs.push_back({{out.qkv, out.gate, out.beta, out.decay}, OfNorm(to.block.mixer_norm), {}});
  to.Output(out.o, {});
  return out;
}

}  // namespace

Result<Description> DescribeQwen35(const Config& config) {
  auto sizes = ParseSizes(config);
  if (!sizes) return sizes.error();
  sizes->norm.plus_one = true;
  const auto net = ParseDeltaNet(config);
  if (!net) return net.error();
  const auto types = LayerTypes(config, sizes->blocks, {"linear_attention", "full_attention"});
  if (!types) return types.error();
  const auto mixer = [&](const BlockBuilder& to) -> decltype(Block::mixer) {
    if ((*types)[to.index] == "full_attention") return AddGatedAttention(to.Under(".self_attn"), *sizes);
    return AddDeltaNet(to.Under(".linear_attn"), *sizes, *net);
  };
  const auto feed_forward = [&](const BlockBuilder& to) {
    return AddGated(to.Under(".mlp"), sizes->hidden, sizes->intermediate);
  };
  return DescribeBlocks(*sizes, {{sizes->head_dim / 4, false, {}}}, mixer, feed_forward);
}

}  // namespace marlin
