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
  std::size_t q_latent = 0, kv_latent = 0, plain_dim = 0, rotary_dim = 0, value_dim = 0;
  std::size_t dense_blocks = 0, experts = 0, shared = 0, expert_size = 0, chosen = 0, groups = 0, chosen_groups = 0;
  float scale = 1;
  bool normalized = true;
};

Result<DeepseekSizes> ParseDeepseek(const json& config) {
  DeepseekSizes out;
  auto base = ParseSizes(config);
  if (!base) return base.error();
  out.base = *base;
  const Status read = ReadSizes(config, {{"q_lora_rank", &out.q_latent, true},
                                         {"kv_lora_rank", &out.kv_latent},
                                         {"qk_nope_head_dim", &out.plain_dim},
                                         {"qk_rope_head_dim", &out.rotary_dim},
                                         {"v_head_dim", &out.value_dim},
                                         {"first_k_dense_replace", &out.dense_blocks, true},
                                         {"n_routed_experts", &out.experts},
                                         {"n_shared_experts", &out.shared, true},
                                         {"moe_intermediate_size", &out.expert_size},
                                         {"num_experts_per_tok", &out.chosen},
                                         {"n_group", &out.groups},
                                         {"topk_group", &out.chosen_groups}});
  if (!read) return read.error();
  const auto scale = RealOf(config, "routed_scaling_factor", 1);
  if (!scale) return scale.error();
  out.scale = static_cast<float>(*scale);
  const auto normalized = FlagOf(config, "norm_topk_prob", true);
  if (!normalized) return normalized.error();
  out.normalized = *normalized;
  return out;
}

LatentAttention AddLatent(DescriptionBuilder& builder, Block& block, const std::string& stem, const DeepseekSizes& s) {
  const Norm norm{NormKind::kRms, {}, {}, false, 1e-6f};  // whatever "rms_norm_eps" says
  const std::size_t hidden = s.base.hidden;
  const std::size_t heads = s.base.heads;
  const std::size_t head = s.plain_dim + s.rotary_dim;
  LatentAttention out;
  out.heads = heads;
  out.plain_dim = s.plain_dim;
  out.rotary_dim = s.rotary_dim;
  out.value_dim = s.value_dim;
  out.scale = 1 / std::sqrt(static_cast<float>(head));
  out.kv_down = builder.Linear(block, stem + ".kv_a_proj_with_mqa", s.kv_latent + s.rotary_dim, hidden);
  out.kv_norm = builder.AddNorm(block, stem + ".kv_a_layernorm", s.kv_latent, norm);
  Input first{{out.kv_down}, OfNorm(block.mixer_norm), {}};
  if (s.q_latent == 0) {
    out.q = builder.Linear(block, stem + ".q_proj", heads * head, hidden);
    first.matrices.push_back(out.q);
    block.inputs.push_back(std::move(first));
  } else {
    out.q_down = builder.Linear(block, stem + ".q_a_proj", s.q_latent, hidden);
    out.q_norm = builder.AddNorm(block, stem + ".q_a_layernorm", s.q_latent, norm);
    out.q = builder.Linear(block, stem + ".q_b_proj", heads * head, s.q_latent);
    first.matrices.push_back(*out.q_down);
    block.inputs.push_back(std::move(first));
    block.inputs.push_back({{out.q}, OfNorm(*out.q_norm), {}});
  }
  const std::size_t stride = s.plain_dim + s.value_dim;  // a head's rows: key, then value
  out.k = builder.Slices(block, {stem + ".kv_b_proj.weight", "", stem + ".kv_b_proj", heads * stride, s.kv_latent},
                         {{".key", heads * s.plain_dim, {0, s.plain_dim, stride}},
                          {".value", heads * s.value_dim, {s.plain_dim, s.value_dim, stride}}});
  out.v = out.k + 1;
  out.o = builder.Linear(block, stem + ".o_proj", hidden, heads * s.value_dim);
  block.matrices[out.o].adds_to_hidden = true;
  block.inputs.push_back({{out.k, out.v}, OfNorm(out.kv_norm), {}});
  block.inputs.push_back({{out.o}, OfRows(out.v, heads * s.value_dim), {}});
  return out;
}

Experts AddExperts(DescriptionBuilder& builder, Block& block, const std::string& stem, const DeepseekSizes& s) {
  const Absorber norm = OfNorm(block.feed_forward_norm);
  Experts out;
  out.router = builder.Linear(block, stem + ".gate", s.experts, s.base.hidden);
  block.matrices[out.router].keep_16_bits = true;
  out.correction = builder.Values(block, stem + ".gate.e_score_correction_bias", {s.experts});
  out.routing = Routing::kSigmoidGroups;
  out.chosen = s.chosen;
  out.groups = s.groups;
  out.chosen_groups = s.chosen_groups;
  out.normalized = s.normalized;
  out.scale = s.scale;
  block.inputs.push_back({{out.router}, norm, {}});
  for (std::size_t e = 0; e < s.experts; ++e) {
    const std::size_t first_input = block.inputs.size();
    const FeedForward part =
        AddGated(builder, block, fmt::format("{}.experts.{}", stem, e), s.base.hidden, s.expert_size, false, norm);
    for (std::size_t i = first_input; i < block.inputs.size(); ++i) block.inputs[i].expert = e;
    // GGUF stacks them.
    const FeedForward& like = e == 0 ? part : out.experts[0];
    block.matrices[*part.gate].format_group = block.matrices[*like.gate].format_group;
    block.matrices[part.up].format_group = block.matrices[like.up].format_group;
    block.matrices[part.down].format_group = block.matrices[like.down].format_group;
    out.experts.push_back(part);
  }
  if (s.shared > 0) {
    out.shared =
        AddGated(builder, block, stem + ".shared_experts", s.base.hidden, s.shared * s.expert_size, false, norm);
  }
  return out;
}

}  // namespace

Result<Description> DescribeDeepseekV3(const json& config) {
  const auto sizes = ParseDeepseek(config);
  if (!sizes) return sizes.error();
  const Sizes& base = sizes->base;
  const auto neighbours = FlagOf(config, "rope_interleave", true);
  if (!neighbours) return neighbours.error();
  Description out;
  DescriptionBuilder builder(out);
  const Norm norm{NormKind::kRms, {}, {}, false, base.norm_eps};
  AddAround(out, builder, base, norm);
  out.ropes.push_back({sizes->rotary_dim, *neighbours, {}});
  out.caches = base.blocks;
  for (std::size_t i = 0; i < base.blocks; ++i) {
    const std::string stem = fmt::format("model.layers.{}", i);
    Block& block = out.blocks.emplace_back();
    block.mixer_norm = builder.AddNorm(block, stem + ".input_layernorm", base.hidden, norm);
    LatentAttention attention = AddLatent(builder, block, stem + ".self_attn", *sizes);
    attention.cache = i;
    block.mixer = attention;
    block.feed_forward_norm = builder.AddNorm(block, stem + ".post_attention_layernorm", base.hidden, norm);
    if (i < sizes->dense_blocks) {
      block.feed_forward = AddGated(builder, block, stem + ".mlp", base.hidden, base.intermediate, false,
                                    OfNorm(block.feed_forward_norm));
    } else {
      block.feed_forward = AddExperts(builder, block, stem + ".mlp", *sizes);
    }
  }
  return out;
}

}  // namespace marlin
