// DeepSeek-V3: latent attention, and experts that a sigmoid chooses, group by group. The first blocks are dense.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"

namespace marlin {
namespace {
using nlohmann::json;

struct DeepseekSizes {
  Sizes base;
  LatentAttention attention;  // no parts yet
  Experts experts;            // no parts yet
  std::size_t q_latent = 0, kv_latent = 0;
  std::size_t dense_blocks = 0, expert_count = 0, shared = 0, expert_size = 0;
  bool neighbours = true;
};

Result<DeepseekSizes> ParseDeepseek(const Config& config) {
  auto base = ParseSizes(config);
  if (!base) return base.error();
  DeepseekSizes out;
  out.base = *base;
  out.attention.heads = base->heads;
  out.experts.routing = Routing::kSigmoidGroups;
  const Status read = ReadFields(config, {{"q_lora_rank", &out.q_latent, true},
                                          {"kv_lora_rank", &out.kv_latent},
                                          {"qk_nope_head_dim", &out.attention.plain_dim},
                                          {"qk_rope_head_dim", &out.attention.rotary_dim},
                                          {"v_head_dim", &out.attention.value_dim},
                                          {"first_k_dense_replace", &out.dense_blocks, true},
                                          {"n_routed_experts", &out.expert_count},
                                          {"n_shared_experts", &out.shared, true},
                                          {"moe_intermediate_size", &out.expert_size},
                                          {"num_experts_per_tok", &out.experts.chosen},
                                          {"n_group", &out.experts.groups},
                                          {"topk_group", &out.experts.chosen_groups},
                                          {"routed_scaling_factor", &out.experts.scale},
                                          {"norm_topk_prob", &out.experts.normalized},
                                          {"rope_interleave", &out.neighbours}});
  if (!read) return read.error();
  return out;
}

LatentAttention AddLatent(const BlockBuilder& to, const DeepseekSizes& s) {
  const Norm norm{NormKind::kRms, {}, {}, false, 1e-6f};  // whatever "rms_norm_eps" says
  LatentAttention out = s.attention;
  const std::size_t head = out.plain_dim + out.rotary_dim;
  const std::size_t values = out.heads * out.value_dim;
  out.scale = 1 / std::sqrt(static_cast<float>(head));
  out.kv_down = to.Linear(".kv_a_proj_with_mqa", s.kv_latent + out.rotary_dim, s.base.hidden);
  out.kv_norm = to.AddNorm(".kv_a_layernorm", s.kv_latent, norm);
  if (s.q_latent == 0) {
    out.q = to.Linear(".q_proj", out.heads * head, s.base.hidden);
    to.block.inputs.push_back({{out.kv_down, out.q}, OfNorm(to.block.mixer_norm), {}});
  } else {
    out.q_down = to.Linear(".q_a_proj", s.q_latent, s.base.hidden);
    out.q_norm = to.AddNorm(".q_a_layernorm", s.q_latent, norm);
    out.q = to.Linear(".q_b_proj", out.heads * head, s.q_latent);
    to.block.inputs.push_back({{out.kv_down, *out.q_down}, OfNorm(to.block.mixer_norm), {}});
    to.block.inputs.push_back({{out.q}, OfNorm(*out.q_norm), {}});
  }
  const std::size_t stride = out.plain_dim + out.value_dim;  // a head's rows: key, then value
  const std::vector<Slice> kv = {{".key", out.heads * out.plain_dim, {0, out.plain_dim, stride}},
                                 {".value", values, {out.plain_dim, out.value_dim, stride}}};
  out.k = to.Slices(".kv_b_proj", kv, s.kv_latent);
  out.v = out.k + 1;
  out.o = to.Linear(".o_proj", s.base.hidden, values);
  to.block.inputs.push_back({{out.k, out.v}, OfNorm(out.kv_norm), {}});
  to.Output(out.o, OfRows(out.v, values));
  return out;
}

Experts AddExperts(const BlockBuilder& to, const DeepseekSizes& s) {
  auto& matrices = to.block.matrices;
  Experts out = s.experts;
  out.router = to.Linear(".gate", s.expert_count, s.base.hidden);
  matrices[out.router].keep_16_bits = true;
  out.correction = to.Values(".gate.e_score_correction_bias", {s.expert_count});
  to.block.inputs.push_back({{out.router}, OfNorm(to.block.feed_forward_norm), {}});
  for (std::size_t e = 0; e < s.expert_count; ++e) {
    out.experts.push_back(AddGated(to.Under(fmt::format(".experts.{}", e)), s.base.hidden, s.expert_size, false, e));
    // GGUF stacks them.
    const FeedForward& part = out.experts.back();
    const FeedForward& like = out.experts[0];
    matrices[*part.gate].format_group = matrices[*like.gate].format_group;
    matrices[part.up].format_group = matrices[like.up].format_group;
    matrices[part.down].format_group = matrices[like.down].format_group;
  }
  if (s.shared > 0) out.shared = AddGated(to.Under(".shared_experts"), s.base.hidden, s.shared * s.expert_size);
  return out;
}

}  // namespace

Result<Description> DescribeDeepseekV3(const Config& config) {
  const auto sizes = ParseDeepseek(config);
  if (!sizes) return sizes.error();
  const Sizes& base = sizes->base;
  const auto mixer = [&](const BlockBuilder& to) { return AddLatent(to.Under(".self_attn"), *sizes); };
  const auto feed_forward = [&](const BlockBuilder& to) -> decltype(Block::feed_forward) {
    if (to.index >= sizes->dense_blocks) return AddExperts(to.Under(".mlp"), *sizes);
    return AddGated(to.Under(".mlp"), base.hidden, base.intermediate);
  };
  return DescribeBlocks(base, {{sizes->attention.rotary_dim, sizes->neighbours, {}}}, mixer, feed_forward);
}

}  // namespace marlin
