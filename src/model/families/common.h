// What many families share: sizes under their usual keys, attention and feed-forward parts under Llama's names.
#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/config_fields.h"
#include "model/families/builder.h"

namespace marlin {

struct Sizes {
  std::size_t vocab = 0, hidden = 0, blocks = 0, heads = 0, kv_heads = 0, head_dim = 0, intermediate = 0;
  std::size_t context = 2048;
  Norm norm = {NormKind::kRms, {}, {}, false, 1e-6f};  // of the hidden state
  bool tied = false;
};

// From "vocab_size", "hidden_size", "num_hidden_layers", ...; `defaults` are those of the family. A size without a
// default must be there, but head_dim, which is hidden / heads, and kv_heads, which are as many as heads. Errors:
// kInput, kUnsupported, naming the key.
Result<Sizes> ParseSizes(const Config& config, const Sizes& defaults = {});
// That the sizes describe a model that exists and that can be run. Errors: kInput, kUnsupported.
Status CheckSizes(const Sizes& sizes);

// "hidden_act" or another key; `otherwise` where it is missing. Errors: kUnsupported (another one), kInput.
Result<Activation> ParseActivation(const Config& config, const char* key = "hidden_act",
                                   const std::string& otherwise = "silu");

// Words of "layer_types".
inline constexpr const char* kSlidingLayer = "sliding_attention";
inline constexpr const char* kFullLayer = "full_attention";

// "layer_types", one of the known words for each block; `otherwise` gives them where the key is missing. Errors:
// kInput, kUnsupported (another word).
using LayerTypeOf = std::function<std::string(std::size_t block)>;
Result<std::vector<std::string>> LayerTypes(const Config& config, std::size_t blocks,
                                            std::initializer_list<std::string_view> known,
                                            const LayerTypeOf& otherwise = {});
// Of `period` blocks in a row, the last one is full and the others have a window.
LayerTypeOf EveryLayerIsFull(std::size_t period);

// What most families call the tensors that are in no mixer and no feed-forward part. Norms without a name are not
// there.
struct Names {
  const char* embedding = "model.embed_tokens";
  const char* positions = nullptr;  // learned ones
  const char* final_norm = "model.norm";
  const char* head = "lm_head";
  const char* blocks = "model.layers";
  const char* mixer_norm = ".input_layernorm";
  const char* feed_forward_norm = ".post_attention_layernorm";
  const char* after_mixer = nullptr;
  const char* after_feed_forward = nullptr;
};
// Sizes, embedding, final norm and head of a description.
void AddAround(Description& description, TensorList& tensors, const Sizes& sizes, const Names& names = {});

// A model of blocks with caches of their own: each is a norm, a mixer, a norm, a feed-forward part.
using MakeMixer = std::function<decltype(Block::mixer)(const BlockBuilder& to)>;
using MakeFeedForward = std::function<decltype(Block::feed_forward)(const BlockBuilder& to)>;
Description DescribeBlocks(const Sizes& sizes, std::vector<Rope> ropes, const MakeMixer& make_mixer,
                           const MakeFeedForward& make_feed_forward, const Names& names = {});

// Heads, their size, the usual scale and the first rope; no parts yet.
Attention AttentionOfSizes(const Sizes& sizes);
// The inputs of attention whose parts are known: what q, k, v (and the gate) read, and what o reads.
void AddAttentionInputs(const BlockBuilder& to, const Attention& attention, const std::optional<Absorber>& of_o);
// Attention with its inputs. Of the matrices q, k and v, each follows the one before.
Attention AttentionOf(const BlockBuilder& to, const Sizes& sizes, std::size_t q, std::size_t o, const Absorber& of_o);
// What o reads: weighted sums of values. Each head of v serves its share of the heads.
Absorber OfValues(const Sizes& sizes, std::size_t v);

// q_proj, k_proj, v_proj and o_proj, with their two inputs. The block has its mixer norm.
struct AttentionBiases {
  bool qkv = false, o = false;
};
Attention AddAttention(const BlockBuilder& to, const Sizes& sizes, AttentionBiases biases);
// The same with one tensor qkv_proj.
Attention AddFusedAttention(const BlockBuilder& to, const Sizes& sizes);

// The inputs of a feed-forward part whose matrices are known. Up can absorb what down scales up only where it is a
// factor of what down reads: beside a gate, and without a limit.
void AddFeedForwardInputs(const BlockBuilder& to, const FeedForward& part, std::optional<std::size_t> expert = {});

// gate_proj, up_proj and down_proj, with their inputs. The block has its feed-forward norm.
FeedForward AddGated(const BlockBuilder& to, std::size_t hidden, std::size_t intermediate, bool bias = false,
                     std::optional<std::size_t> expert = {});
// The same with one tensor gate_up_proj.
FeedForward AddFusedGated(const BlockBuilder& to, const Sizes& sizes);

// Decoders with the parts of Llama, under its names.
enum class HeadNorms { kNone, kEach, kTogether };  // of queries and keys: each head, or all heads as one vector
struct DecoderStyle {
  Names names = {};
  AttentionBiases attention_biases = {};
  bool feed_forward_bias = false;
  bool fused_qkv = false, fused_gate_up = false;
  HeadNorms head_norms = HeadNorms::kNone;
  Activation activation = Activation::kSilu;
  std::vector<Rope> ropes = {};
  std::function<void(std::size_t block, Attention& attention)> adapt = {};  // rope, window, scale of a block
};
Description DescribeDecoder(const Sizes& sizes, const DecoderStyle& style);

}  // namespace marlin
