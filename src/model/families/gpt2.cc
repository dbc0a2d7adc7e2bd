// GPT-2: learned positions, layer norms, matrices stored as [k, n].
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "model/config_fields.h"
#include "model/families/common.h"
#include "model/families/family.h"

namespace marlin {
namespace {
using nlohmann::json;

struct Gpt2Sizes {
  std::size_t vocab = 0, hidden = 0, heads = 0, blocks = 0, context = 0, inner = 0;
  float eps = 0;
};

Result<Gpt2Sizes> ParseGpt2(const json& config) {
  Gpt2Sizes out;
  const Status read = ReadSizes(config, {{"vocab_size", &out.vocab},
                                         {"n_embd", &out.hidden},
                                         {"n_head", &out.heads},
                                         {"n_layer", &out.blocks},
                                         {"n_positions", &out.context},
                                         {"n_inner", &out.inner, true}});
  if (!read) return read.error();
  if (out.inner == 0) out.inner = 4 * out.hidden;
  if (out.hidden % out.heads != 0) {
    return BadConfig(fmt::format("n_embd {} is not a multiple of n_head {}", out.hidden, out.heads));
  }
  const auto eps = RealOf(config, "layer_norm_epsilon", 1e-5);
  if (!eps) return eps.error();
  out.eps = static_cast<float>(*eps);
  return out;
}

std::size_t AddStored(DescriptionBuilder& builder, Block& block, const std::string& stem, std::size_t n, std::size_t k,
                      const std::vector<DescriptionBuilder::Slice>& slices) {
  return builder.Slices(block, {stem + ".weight", stem + ".bias", stem, n, k, true}, slices);
}

Attention AddMixer(DescriptionBuilder& builder, Block& block, const std::string& stem, const Gpt2Sizes& s) {
  const std::size_t n = s.hidden;
  Attention out;
  out.heads = out.kv_heads = s.heads;
  out.head_dim = n / s.heads;
  out.scale = 1 / std::sqrt(static_cast<float>(out.head_dim));
  out.q = AddStored(builder, block, stem + ".c_attn", 3 * n, n,
                    {{".query", n, AllRows(n)}, {".key", n, {n, n, n}}, {".value", n, {2 * n, n, n}}});
  out.k = out.q + 1;
  out.v = out.q + 2;
  out.o = AddStored(builder, block, stem + ".c_proj", n, n, {{"", n, AllRows(n)}});
  block.matrices[out.o].adds_to_hidden = true;
  block.inputs.push_back({{out.q, *out.k, *out.v}, OfNorm(block.mixer_norm), {}});
  block.inputs.push_back({{out.o}, OfRows(*out.v, n), {}});
  return out;
}

// The activation is between up and down, so that up cannot absorb what down scales up.
FeedForward AddPlain(DescriptionBuilder& builder, Block& block, const std::string& stem, const Gpt2Sizes& s) {
  FeedForward out;
  out.up = AddStored(builder, block, stem + ".c_fc", s.inner, s.hidden, {{"", s.inner, AllRows(s.inner)}});
  out.down = AddStored(builder, block, stem + ".c_proj", s.hidden, s.inner, {{"", s.hidden, AllRows(s.hidden)}});
  block.matrices[out.down].adds_to_hidden = true;
  out.activation = Activation::kGeluTanh;
  block.inputs.push_back({{out.up}, OfNorm(block.feed_forward_norm), {}});
  block.inputs.push_back({{out.down}, {}, {}});
  return out;
}

}  // namespace

Result<Description> DescribeGpt2(const json& config) {
  const auto sizes = ParseGpt2(config);
  if (!sizes) return sizes.error();
  const auto tied = FlagOf(config, "tie_word_embeddings", true);
  if (!tied) return tied.error();
  Description out;
  DescriptionBuilder builder(out);
  const Norm norm{NormKind::kLayer, {}, {}, false, sizes->eps};
  out.vocab_size = sizes->vocab;
  out.hidden_size = sizes->hidden;
  out.max_context = sizes->context;
  out.embedding = builder.Linear(out, "transformer.wte", sizes->vocab, sizes->hidden);
  out.positions = builder.Linear(out, "transformer.wpe", sizes->context, sizes->hidden);
  out.final_norm = builder.AddNorm(out, "transformer.ln_f", sizes->hidden, norm);
  out.head = *tied ? out.embedding : builder.Linear(out, "lm_head", sizes->vocab, sizes->hidden);
  out.caches = sizes->blocks;
  for (std::size_t i = 0; i < sizes->blocks; ++i) {
    const std::string stem = fmt::format("transformer.h.{}", i);
    Block& block = out.blocks.emplace_back();
    block.mixer_norm = builder.AddNorm(block, stem + ".ln_1", sizes->hidden, norm);
    Attention attention = AddMixer(builder, block, stem + ".attn", *sizes);
    attention.cache = i;
    block.mixer = attention;
    block.feed_forward_norm = builder.AddNorm(block, stem + ".ln_2", sizes->hidden, norm);
    block.feed_forward = AddPlain(builder, block, stem + ".mlp", *sizes);
  }
  return out;
}

}  // namespace marlin
