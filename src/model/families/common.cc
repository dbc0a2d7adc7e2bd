#include "model/families/common.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "model/config_fields.h"

namespace marlin {
using nlohmann::json;

namespace {

// So that no count of weights or bytes overflows, and that a description fits into memory.
Status CheckCounts(const Sizes& s) {
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

Status CheckSizes(const Sizes& s) {
  if (s.heads % s.kv_heads != 0) {
    return BadConfig(
        fmt::format("num_attention_heads {} is not a multiple of num_key_value_heads {}", s.heads, s.kv_heads));
  }
  if (s.head_dim > kMaxHeadDim) {
    return UnsupportedConfig(fmt::format("head_dim {} is not supported; at most {}", s.head_dim, kMaxHeadDim));
  }
  if (s.head_dim % 2 != 0) return BadConfig(fmt::format("head_dim {} is odd", s.head_dim));
  return CheckCounts(s);
}

Result<Sizes> ParseSizes(const Config& config, const Sizes& defaults) {
  Sizes out = defaults;
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
  if (auto status = CheckSizes(out); !status) return status.error();
  const Status others = ReadFields(config, {{"rms_norm_eps", &out.norm.eps}, {"tie_word_embeddings", &out.tied}});
  if (!others) return others.error();
  return out;
}

Result<Activation> ParseActivation(const Config& config, const char* key, const std::string& otherwise) {
  struct Row {
    const char* name;
    Activation activation;
  };
  constexpr std::array kRows = {Row{"silu", Activation::kSilu},
                                Row{"swish", Activation::kSilu},
                                Row{"gelu_pytorch_tanh", Activation::kGeluTanh},
                                Row{"gelu_new", Activation::kGeluTanh},
                                Row{"gelu_fast", Activation::kGeluTanh},
                                Row{"gelu", Activation::kGelu}};
  const auto name = TextOf(config, key, otherwise);
  if (!name) return name.error();
  std::string known;
  for (const Row& row : kRows) {
    if (*name == row.name) return row.activation;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", row.name);
  }
  return UnsupportedConfig(
      fmt::format("\"{}\": activation \"{}\" is not supported; supported are {}", key, *name, known));
}

LayerTypeOf EveryLayerIsFull(std::size_t period) {
  return [period](std::size_t block) { return (block + 1) % period == 0 ? kFullLayer : kSlidingLayer; };
}

Result<std::vector<std::string>> LayerTypes(const Config& config, std::size_t blocks,
                                            std::initializer_list<std::string_view> known,
                                            const LayerTypeOf& otherwise) {
  std::vector<std::string> types;
  if (otherwise && !config.Has("layer_types")) {
    for (std::size_t i = 0; i < blocks; ++i) types.push_back(otherwise(i));
    return types;
  }
  if (!config.Has("layer_types") || !config["layer_types"].is_array() || config["layer_types"].size() != blocks) {
    return BadConfig(fmt::format("\"layer_types\" is no array of {} words", blocks));
  }
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
  description.head_name = names.head;
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
    const auto add_norm = [&](const char* name, std::optional<std::size_t>& norm) {
      if (name != nullptr) norm = to.AddNorm(name, sizes.hidden, sizes.norm);
    };
    add_norm(names.mixer_norm, block.mixer_norm);
    block.mixer = make_mixer(to);
    std::visit([&](auto& mixer) { mixer.cache = i; }, block.mixer);
    add_norm(names.after_mixer, block.after_mixer);
    add_norm(names.feed_forward_norm, block.feed_forward_norm);
    block.feed_forward = make_feed_forward(to);
    add_norm(names.after_feed_forward, block.after_feed_forward);
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

Attention AddFusedAttention(const BlockBuilder& to, const Sizes& s) {
  const std::size_t q_size = s.heads * s.head_dim;
  const std::size_t kv_size = s.kv_heads * s.head_dim;
  const std::vector<Slice> qkv = {{".query", q_size}, {".key", kv_size}, {".value", kv_size}};
  const std::size_t q = to.Slices(".qkv_proj", qkv, s.hidden);
  const std::size_t o = to.Linear(".o_proj", s.hidden, q_size);
  return AttentionOf(to, s, q, o, OfValues(s, q + 2));
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

FeedForward AddFusedGated(const BlockBuilder& to, const Sizes& s) {
  FeedForward out;
  out.gate = to.Slices(".gate_up_proj", {{".gate", s.intermediate}, {".up", s.intermediate}}, s.hidden);
  out.up = *out.gate + 1;
  out.down = to.Linear(".down_proj", s.hidden, s.intermediate);
  AddFeedForwardInputs(to, out);
  return out;
}

Description DescribeDecoder(const Sizes& sizes, const DecoderStyle& style) {
  const auto mixer = [&](const BlockBuilder& to) {
    const BlockBuilder inside = to.Under(".self_attn");
    Attention out =
        style.fused_qkv ? AddFusedAttention(inside, sizes) : AddAttention(inside, sizes, style.attention_biases);
    if (style.head_norms != HeadNorms::kNone) {
      const bool each = style.head_norms == HeadNorms::kEach;
      out.q_norm = inside.AddNorm(".q_norm", (each ? 1 : out.heads) * out.head_dim, sizes.norm);
      out.k_norm = inside.AddNorm(".k_norm", (each ? 1 : out.kv_heads) * out.head_dim, sizes.norm);
    }
    if (style.adapt) style.adapt(to.index, out);
    return out;
  };
  const auto feed_forward = [&](const BlockBuilder& to) {
    const BlockBuilder inside = to.Under(".mlp");
    FeedForward out = style.fused_gate_up ? AddFusedGated(inside, sizes)
                                          : AddGated(inside, sizes.hidden, sizes.intermediate, style.feed_forward_bias);
    out.activation = style.activation;
    return out;
  };
  return DescribeBlocks(sizes, style.ropes, mixer, feed_forward, style.names);
}

}  // namespace marlin
