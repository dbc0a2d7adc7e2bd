#include "model/families/common.h"

#include <fmt/format.h>

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

Status ReadSizes(const json& config, std::initializer_list<SizeField> fields) {
  for (const SizeField& field : fields) {
    const auto value = SizeOf(config, field.key, field.may_be_missing ? std::optional<std::size_t>(0) : std::nullopt);
    if (!value) return value.error();
    *field.member = *value;
  }
  return {};
}

Result<Sizes> ParseSizes(const json& config) {
  Sizes out;
  const Status read = ReadSizes(config, {{"vocab_size", &out.vocab},
                                         {"hidden_size", &out.hidden},
                                         {"num_hidden_layers", &out.blocks},
                                         {"num_attention_heads", &out.heads},
                                         {"intermediate_size", &out.intermediate},
                                         {"num_key_value_heads", &out.kv_heads, true},
                                         {"head_dim", &out.head_dim, true},
                                         {"max_position_embeddings", &out.context, true}});
  if (!read) return read.error();
  if (out.kv_heads == 0) out.kv_heads = out.heads;
  if (out.context == 0) out.context = 2048;
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
  const auto eps = RealOf(config, "rms_norm_eps", 1e-6);
  if (!eps) return eps.error();
  out.norm_eps = static_cast<float>(*eps);
  const auto tied = FlagOf(config, "tie_word_embeddings", false);
  if (!tied) return tied.error();
  out.tied = *tied;
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

Result<std::vector<std::string>> LayerTypes(const json& config, std::size_t blocks) {
  if (!HasKey(config, "layer_types") || !config["layer_types"].is_array() || config["layer_types"].size() != blocks) {
    return BadConfig(fmt::format("\"layer_types\" is no array of {} words", blocks));
  }
  std::vector<std::string> types;
  for (const json& type : config["layer_types"]) {
    if (!type.is_string()) return BadConfig("\"layer_types\" holds what is no word");
    types.push_back(type.get<std::string>());
  }
  return types;
}

void AddAround(Description& description, DescriptionBuilder& builder, const Sizes& sizes, const Norm& norm) {
  description.vocab_size = sizes.vocab;
  description.hidden_size = sizes.hidden;
  description.max_context = sizes.context;
  description.embedding = builder.Linear(description, "model.embed_tokens", sizes.vocab, sizes.hidden);
  description.final_norm = builder.AddNorm(description, "model.norm", sizes.hidden, norm);
  description.head =
      sizes.tied ? description.embedding : builder.Linear(description, "lm_head", sizes.vocab, sizes.hidden);
}

Attention AttentionOfSizes(const Sizes& sizes) {
  Attention attention;
  attention.heads = sizes.heads;
  attention.kv_heads = sizes.kv_heads;
  attention.head_dim = sizes.head_dim;
  attention.scale = 1 / std::sqrt(static_cast<float>(sizes.head_dim));
  return attention;
}

void AddAttentionInputs(Block& block, const Attention& a) {
  Input input{{a.q}, OfNorm(block.mixer_norm), {}};
  if (a.gate) input.matrices.push_back(*a.gate);
  input.matrices.insert(input.matrices.end(), {*a.k, *a.v});
  block.inputs.push_back(std::move(input));
  block.inputs.push_back({{a.o}, OfHeads(*a.v, a.head_dim, a.heads / a.kv_heads), {}});
}

Attention AddAttention(DescriptionBuilder& builder, Block& block, const std::string& stem, const Sizes& sizes,
                       AttentionBiases biases) {
  Attention attention = AttentionOfSizes(sizes);
  const std::size_t q_size = sizes.heads * sizes.head_dim;
  const std::size_t kv_size = sizes.kv_heads * sizes.head_dim;
  attention.q = builder.Linear(block, stem + ".q_proj", q_size, sizes.hidden, biases.qkv);
  attention.k = builder.Linear(block, stem + ".k_proj", kv_size, sizes.hidden, biases.qkv);
  attention.v = builder.Linear(block, stem + ".v_proj", kv_size, sizes.hidden, biases.qkv);
  attention.o = builder.Linear(block, stem + ".o_proj", sizes.hidden, q_size, biases.o);
  block.matrices[attention.o].adds_to_hidden = true;
  AddAttentionInputs(block, attention);
  return attention;
}

FeedForward AddGated(DescriptionBuilder& builder, Block& block, const std::string& stem, std::size_t hidden,
                     std::size_t intermediate, bool bias, const Absorber& from) {
  FeedForward part;
  part.gate = builder.Linear(block, stem + ".gate_proj", intermediate, hidden, bias);
  part.up = builder.Linear(block, stem + ".up_proj", intermediate, hidden, bias);
  part.down = builder.Linear(block, stem + ".down_proj", hidden, intermediate, bias);
  block.matrices[part.down].adds_to_hidden = true;
  block.inputs.push_back({{*part.gate, part.up}, from, {}});
  block.inputs.push_back({{part.down}, OfRows(part.up, intermediate), {}});
  return part;
}

}  // namespace marlin
