#include "model/gguf_facts.h"

#include <algorithm>
#include <array>

#include "files/gguf_metadata.h"

namespace marlin {
namespace {
using nlohmann::json;

double Decimal(float value) { return ShortestDecimal(static_cast<double>(value)); }

const Attention& FirstAttention(const Description& d) { return std::get<Attention>(d.blocks[0].mixer); }
std::size_t WidthOf(const Block& block) { return block.matrices[std::get<FeedForward>(block.feed_forward).up].rows; }

json HiddenSize(const Description& d) { return d.hidden_size; }
json Blocks(const Description& d) { return d.blocks.size(); }
json Heads(const Description& d) { return FirstAttention(d).heads; }
json KvHeads(const Description& d) { return FirstAttention(d).kv_heads; }
json HeadDim(const Description& d) { return FirstAttention(d).head_dim; }
json Width(const Description& d) { return WidthOf(d.blocks[0]); }
json Context(const Description& d) { return d.max_context; }
json Epsilon(const Description& d) { return Decimal(d.norms[d.final_norm].eps); }
// null = none.
json Cap(float cap) { return cap == 0 ? json() : json(Decimal(cap)); }
json AttentionCap(const Description& d) { return Cap(FirstAttention(d).softcap); }
json LogitCap(const Description& d) { return Cap(d.logit_softcap); }
json EmbeddingScale(const Description& d) { return Decimal(d.embedding_scale); }
json AttentionScale(const Description& d) { return Decimal(FirstAttention(d).scale); }
json AddedScale(const Description& d) { return Decimal(d.blocks[0].added_scale); }
json LogitsScaling(const Description& d) { return Decimal(1 / d.logit_scale); }
json TokenWidth(const Description& d) {
  return d.token_embedding ? d.matrices[*d.token_embedding].cols / d.blocks.size() : std::size_t{0};
}
json SharedBlocks(const Description& d) { return d.blocks.size() - d.caches; }

struct KeyFact {
  const char* key;
  json (*of)(const Description& description);
};
// Keys that families spell differently stand beside each other; a family's table reads its own.
constexpr std::array kKeyFacts = {
    KeyFact{"hidden_size", HiddenSize},
    KeyFact{"num_hidden_layers", Blocks},
    KeyFact{"num_attention_heads", Heads},
    KeyFact{"num_key_value_heads", KvHeads},
    KeyFact{"head_dim", HeadDim},
    KeyFact{"intermediate_size", Width},
    KeyFact{"n_inner", Width},
    KeyFact{"max_position_embeddings", Context},
    KeyFact{"rms_norm_eps", Epsilon},
    KeyFact{"layer_norm_eps", Epsilon},
    KeyFact{"layer_norm_epsilon", Epsilon},
    KeyFact{"attn_logit_softcapping", AttentionCap},
    KeyFact{"final_logit_softcapping", LogitCap},
    KeyFact{"embedding_multiplier", EmbeddingScale},
    KeyFact{"attention_multiplier", AttentionScale},
    KeyFact{"residual_multiplier", AddedScale},
    KeyFact{"logits_scaling", LogitsScaling},
    KeyFact{"hidden_size_per_layer_input", TokenWidth},
    KeyFact{"num_kv_shared_layers", SharedBlocks},
};

}  // namespace

ModelFacts FactsOf(const Description& description) {
  ModelFacts facts;
  for (const Block& block : description.blocks) {
    const auto& attention = std::get<Attention>(block.mixer);
    facts.blocks.push_back({attention.kv_heads, attention.head_dim, WidthOf(block), attention.window.value_or(0)});
    if (!attention.rope) continue;
    const Rope& rope = description.ropes[*attention.rope];
    const bool sliding = attention.window.has_value();
    (sliding ? facts.sliding_theta : facts.theta) = rope.theta;
    if (!sliding || facts.rotary_dims == 0) facts.rotary_dims = rope.dims;
  }
  if (facts.theta == 0) facts.theta = facts.sliding_theta;
  return facts;
}

json CompleteConfig(const json& config, const Description& description) {
  json out = config;
  for (const KeyFact& fact : kKeyFacts) {
    if (!out.contains(fact.key) || out[fact.key].is_null()) out[fact.key] = fact.of(description);
  }
  std::size_t window = 0;
  for (const ModelFacts::Block& block : FactsOf(description).blocks) window = std::max(window, block.window);
  if (window >= description.max_context) window = 0;
  out.erase("sliding_window");
  if (window != 0) out["sliding_window"] = window;
  return out;
}

}  // namespace marlin
