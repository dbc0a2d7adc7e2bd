// GPT-NeoX and Pythia: attention and feed-forward part side by side, and (query, key, value) of one head after the
// other.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"

namespace marlin {
namespace {
using nlohmann::json;

Attention AddMixer(DescriptionBuilder& builder, Block& block, const std::string& stem, const Sizes& s, bool bias) {
  const std::size_t n = s.hidden;
  const std::size_t d = s.head_dim;
  const std::string qkv = stem + ".query_key_value";
  Attention out;
  out.heads = out.kv_heads = s.heads;
  out.head_dim = d;
  out.scale = 1 / std::sqrt(static_cast<float>(d));
  out.q = builder.Slices(block, {qkv + ".weight", bias ? qkv + ".bias" : "", qkv, 3 * n, n},
                         {{".query", n, {0, d, 3 * d}}, {".key", n, {d, d, 3 * d}}, {".value", n, {2 * d, d, 3 * d}}});
  out.k = out.q + 1;
  out.v = out.q + 2;
  out.o = builder.Linear(block, stem + ".dense", n, n, bias);
  block.matrices[out.o].adds_to_hidden = true;
  out.rope = 0;
  block.inputs.push_back({{out.q, *out.k, *out.v}, OfNorm(block.mixer_norm), {}});
  block.inputs.push_back({{out.o}, OfRows(*out.v, n), {}});
  return out;
}

FeedForward AddPlain(DescriptionBuilder& builder, Block& block, const std::string& stem, const Sizes& s) {
  FeedForward out;
  out.up = builder.Linear(block, stem + ".dense_h_to_4h", s.intermediate, s.hidden, true);
  out.down = builder.Linear(block, stem + ".dense_4h_to_h", s.hidden, s.intermediate, true);
  block.matrices[out.down].adds_to_hidden = true;
  out.activation = Activation::kGelu;
  block.inputs.push_back({{out.up}, OfNorm(block.feed_forward_norm), {}});
  block.inputs.push_back({{out.down}, {}, {}});
  return out;
}

}  // namespace

Result<Description> DescribeGptNeox(const json& config) {
  const auto sizes = ParseSizes(config);
  if (!sizes) return sizes.error();
  const auto eps = RealOf(config, "layer_norm_eps", 1e-5);
  if (!eps) return eps.error();
  const auto rotary = RealOf(config.value("rope_parameters", json::object()), "partial_rotary_factor", 0.25);
  if (!rotary) return rotary.error();
  const auto parallel = FlagOf(config, "use_parallel_residual", true);
  if (!parallel) return parallel.error();
  const auto bias = FlagOf(config, "attention_bias", true);
  if (!bias) return bias.error();
  Description out;
  DescriptionBuilder builder(out);
  const Norm norm{NormKind::kLayer, {}, {}, false, static_cast<float>(*eps)};
  out.vocab_size = sizes->vocab;
  out.hidden_size = sizes->hidden;
  out.max_context = sizes->context;
  out.embedding = builder.Linear(out, "gpt_neox.embed_in", sizes->vocab, sizes->hidden);
  out.final_norm = builder.AddNorm(out, "gpt_neox.final_layer_norm", sizes->hidden, norm);
  out.head = sizes->tied ? out.embedding : builder.Linear(out, "embed_out", sizes->vocab, sizes->hidden);
  out.ropes.push_back({static_cast<std::size_t>(static_cast<double>(sizes->head_dim) * *rotary), false, {}});
  out.caches = sizes->blocks;
  for (std::size_t i = 0; i < sizes->blocks; ++i) {
    const std::string stem = fmt::format("gpt_neox.layers.{}", i);
    Block& block = out.blocks.emplace_back();
    block.parallel = *parallel;
    block.mixer_norm = builder.AddNorm(block, stem + ".input_layernorm", sizes->hidden, norm);
    Attention attention = AddMixer(builder, block, stem + ".attention", *sizes, *bias);
    attention.cache = i;
    block.mixer = attention;
    block.feed_forward_norm = builder.AddNorm(block, stem + ".post_attention_layernorm", sizes->hidden, norm);
    block.feed_forward = AddPlain(builder, block, stem + ".mlp", *sizes);
  }
  return out;
}

}  // namespace marlin
