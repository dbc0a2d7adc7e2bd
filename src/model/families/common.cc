#include "model/families/common.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "model/config_fields.h"

namespace marlin {
using nlohmann::json;

namespace {

// So that no count of weights or bytes overflows, and that a description fits into memory.
Status CheckSize(const Sizes& s) {
  constexpr double kMostParameters = 1e15;
  constexpr std::size_t kMostBlocks = 10000;
  const auto real = [](std::size_t size) { return static_cast<double>(size); };
  const double attention = 2 * real(s.hidden) * real(s.head_dim) * (real(s.heads) + real(s.kv_heads));
  const double block = attention + 3 * real(s.hidden) * real(s.intermediate);
  const double parameters = 2 * real(s.vocab) * real(s.hidden) + real(s.blocks) * block;
  if (parameters > kMostParameters) {
    return BadConfig(
        fmt::format("the sizes describe {:.3g} parameters, more than any model; check \"hidden_size\", "
                    "\"intermediate_size\", \"num_hidden_layers\" and \"vocab_size\"",
                    parameters));
  }
  if (s.blocks > kMostBlocks) {
    return BadConfig(fmt::format("\"num_hidden_layers\" is {}, more than any model has", s.blocks));
  }
  return {};
}

}  // namespace

Result<Sizes> ParseSizes(const json& config) {
  Sizes out;
  const Status read = ReadFields(config, {{"vocab_size", &out.vocab},
                                          {"hidden_size", &out.hidden},
                                          {"num_hidden_layers", &out.blocks},
                                          {"num_attention_heads", &out.heads},
                                          {"intermediate_size", &out.intermediate},
                                          {"num_key_value_heads", &out.kv_heads, true},
                                          {"head_dim", &out.head_dim, true},
                                          {"max_position_embeddings", &out.context, true}});
  if (!read) return read.error();
  if (out.kv_heads == 0) out.kv_heads = out.heads;
  if (out.head_dim == 0) {
    if (out.hidden % out.heads != 0) {
      return BadConfig(
          fmt::format("hidden_size {} is not a multiple of num_attention_heads {}", out.hidden, out.heads));
    }
    out.head_dim = out.hidden / out.heads;
  }
  if (out.heads % out.kv_heads != 0) {
    return BadConfig(
        fmt::format("num_attention_heads {} is not a multiple of num_key_value_heads {}", out.heads, out.kv_heads));
  }
  if (out.head_dim > kMaxHeadDim) {
    return UnsupportedConfig(fmt::format("head_dim {} is not supported; at most {}", out.head_dim, kMaxHeadDim));
  }
  if (out.head_dim % 2 != 0) return BadConfig(fmt::format("head_dim {} is odd", out.head_dim));
  if (auto status = CheckSize(out); !status) return status.error();
  const Status others = ReadFields(config, {{"rms_norm_eps", &out.norm.eps}, {"tie_word_embeddings", &out.tied}});
  if (!others) return others.error();
  return out;
}

Result<Activation> ParseActivation(const json& config, const char* key) {
  if (!HasKey(config, key)) return Activation::kSilu;
  if (!config[key].is_string()) return BadConfig(fmt::format("\"{}\" is not a string", key));
  const auto name = config[key].get<std::string>();
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return Activation::kGeluTanh;
  return UnsupportedConfig(
      fmt::format("activation \"{}\" is not supported; supported are silu, gelu_pytorch_tanh", name));
}

Result<std::vector<std::string>> LayerTypes(const json& config, std::size_t blocks,
                                            std::initializer_list<std::string_view> known) {
  if (!HasKey(config, "layer_types") || !config["layer_types"].is_array() || config["layer_types"].size() != blocks) {
    return BadConfig(fmt::format("\"layer_types\" is no array of {} words", blocks));
  }
  std::vector<std::string> types;
  for (const json& type : config["layer_types"]) {
    if (!type.is_string()) return BadConfig("\"layer_types\" holds what is no word");
    types.push_back(type.get<std::string>());
    if (std::ranges::find(known, types.back()) == known.end()) {
      return UnsupportedConfig(fmt::format("layer type \"{}\" is not known", types.back()));
    }
  }
  return types;
}

void AddAround(Description& description, TensorList& tensors, const Sizes& sizes, const Names& names) {
  const PartsBuilder to{tensors, description, ""};
  description.vocab_size = sizes.vocab;
  description.hidden_size = sizes.hidden;
  description.max_context = sizes.context;
  description.embedding = to.Linear(names.embedding, sizes.vocab, sizes.hidden);
  if (names.positions != nullptr) description.positions = to.Linear(names.positions, sizes.context, sizes.hidden);
  description.final_norm = to.AddNorm(names.final_norm, sizes.hidden, sizes.norm);
  description.head = sizes.tied ? description.embedding : to.Linear(names.head, sizes.vocab, sizes.hidden);
}

Description DescribeBlocks(const Sizes& sizes, std::vector<Rope> ropes, const MakeMixer& make_mixer,
                           const MakeFeedForward& make_feed_forward, const Names& names) {
  Description out;
  TensorList tensors(out);
  AddAround(out, tensors, sizes, names);
  out.ropes = std::move(ropes);
  out.caches = sizes.blocks;
  for (std::size_t i = 0; i < sizes.blocks; ++i) {
    Block& block = out.blocks.emplace_back();
    const BlockBuilder to{{tensors, block, fmt::format("{}.{}", names.blocks, i)}, block, i};
    block.mixer_norm = to.AddNorm(names.mixer_norm, sizes.hidden, sizes.norm);
    block.mixer = make_mixer(to);
    std::visit([&](auto& mixer) { mixer.cache = i; }, block.mixer);
    block.feed_forward_norm = to.AddNorm(names.feed_forward_norm, sizes.hidden, sizes.norm);
    block.feed_forward = make_feed_forward(to);
  }
  return out;
}

Attention AttentionOfSizes(const Sizes& sizes) {
  Attention attention;
  attention.heads = sizes.heads;
  attention.kv_heads = sizes.kv_heads;
  attention.head_dim = sizes.head_dim;
  attention.scale = 1 / std::sqrt(static_cast<float>(sizes.head_dim));
  attention.rope = 0;
  return attention;
}

void AddAttentionInputs(const BlockBuilder& to, const Attention& a, const std::optional<Absorber>& of_o) {
  Input input{{a.q}, OfNorm(to.block.mixer_norm), {}};
  for (const auto& matrix : {a.gate, a.k, a.v}) {
    if (matrix) input.matrices.push_back(*matrix);
  }
  to.block.inputs.push_back(std::move(input));
  to.Output(a.o, of_o);
}

Attention AttentionOf(const BlockBuilder& to, const Sizes& sizes, std::size_t q, std::size_t o, const Absorber& of_o) {
  Attention attention = AttentionOfSizes(sizes);
  attention.q = q;
  attention.k = q + 1;
  attention.v = q + 2;
  attention.o = o;
  AddAttentionInputs(to, attention, of_o);
  return attention;
}

Absorber OfValues(const Sizes& sizes, std::size_t v) {
  return {Absorber::Kind::kMatrix, v, sizes.head_dim, sizes.heads / sizes.kv_heads, true};
}

Attention AddAttention(const BlockBuilder& to, const Sizes& sizes, AttentionBiases biases) {
  const std::size_t q_size = sizes.heads * sizes.head_dim;
  const std::size_t kv_size = sizes.kv_heads * sizes.head_dim;
  const std::size_t q = to.Linear(".q_proj", q_size, sizes.hidden, biases.qkv);
  to.Linear(".k_proj", kv_size, sizes.hidden, biases.qkv);
  const std::size_t v = to.Linear(".v_proj", kv_size, sizes.hidden, biases.qkv);
  const std::size_t o = to.Linear(".o_proj", sizes.hidden, q_size, biases.o);
  return AttentionOf(to, sizes, q, o, OfValues(sizes, v));
}

void AddFeedForwardInputs(const BlockBuilder& to, const FeedForward& part, std::optional<std::size_t> expert) {
  Input input{{part.up}, OfNorm(to.block.feed_forward_norm), expert};
  if (part.gate) input.matrices = {*part.gate, part.up};
  to.block.inputs.push_back(std::move(input));
  const bool is_factor = part.gate && !part.limit;
  const Absorber up = OfRows(part.up, to.block.matrices[part.up].rows);
  to.Output(part.down, is_factor ? std::optional(up) : std::nullopt, expert);
}

FeedForward AddGated(const BlockBuilder& to, std::size_t hidden, std::size_t intermediate, bool bias,
                     std::optional<std::size_t> expert) {
  FeedForward part;
  part.gate = to.Linear(".gate_proj", intermediate, hidden, bias);
  part.up = to.Linear(".up_proj", intermediate, hidden, bias);
  part.down = to.Linear(".down_proj", hidden, intermediate, bias);
  AddFeedForwardInputs(to, part, expert);
  return part;
}

}  // namespace marlin
