// What many families share: sizes under their usual keys, attention and feed-forward parts under Llama's names.
#pragma once

#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/families/builder.h"

namespace marlin {

struct Sizes {
  std::size_t vocab = 0, hidden = 0, blocks = 0, heads = 0, kv_heads = 0, head_dim = 0, intermediate = 0, context = 0;
  float norm_eps = 0;
  bool tied = false;
};

// A size of the configuration and where it goes; one that may be missing is then 0.
struct SizeField {
  const char* key;
  std::size_t* member;
  bool may_be_missing = false;
};
// Errors: those of SizeOf.
Status ReadSizes(const nlohmann::json& config, std::initializer_list<SizeField> fields);

// From "vocab_size", "hidden_size", "num_hidden_layers", ...; head_dim is hidden / heads where it is not given. Errors:
// kInput, kUnsupported, naming the key.
Result<Sizes> ParseSizes(const nlohmann::json& config);

// "hidden_act" or another key: silu where it is missing. Errors: kUnsupported (another one), kInput.
Result<Activation> ParseActivation(const nlohmann::json& config, const char* key = "hidden_act");

// "layer_types", one word for each block. Errors: kInput.
Result<std::vector<std::string>> LayerTypes(const nlohmann::json& config, std::size_t blocks);

// Sizes, embedding "model.embed_tokens", final norm "model.norm" and head "lm_head" of a description.
void AddAround(Description& description, DescriptionBuilder& builder, const Sizes& sizes, const Norm& norm);

// Heads, their size and the usual scale; no parts yet.
Attention AttentionOfSizes(const Sizes& sizes);
// The inputs of attention whose parts are known: what q, k, v (and the gate) read, and what o reads.
void AddAttentionInputs(Block& block, const Attention& attention);

// q_proj, k_proj, v_proj and o_proj of `stem`, with their two inputs. The block has its mixer norm.
struct AttentionBiases {
  bool qkv = false, o = false;
};
Attention AddAttention(DescriptionBuilder& builder, Block& block, const std::string& stem, const Sizes& sizes,
                       AttentionBiases biases);

// gate_proj, up_proj and down_proj of `stem`, with their inputs.
FeedForward AddGated(DescriptionBuilder& builder, Block& block, const std::string& stem, std::size_t hidden,
                     std::size_t intermediate, bool bias, const Absorber& from);

}  // namespace marlin
