#include "files/gguf_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/check.h"

namespace marlin {
namespace {

constexpr std::array kKeyRows = {
    GgufKeyRow{"embedding_length", "hidden_size", true},
    GgufKeyRow{"feed_forward_length", "intermediate_size", true},
    GgufKeyRow{"block_count", "num_hidden_layers", true},
    GgufKeyRow{"attention.head_count", "num_attention_heads", true},
    GgufKeyRow{"attention.head_count_kv", "num_key_value_heads", false},
    GgufKeyRow{"attention.key_length", "head_dim", false},
    GgufKeyRow{"attention.layer_norm_rms_epsilon", "rms_norm_eps", true},
    GgufKeyRow{"rope.freq_base", "rope_theta", false},
    GgufKeyRow{"context_length", "max_position_embeddings", true},
    GgufKeyRow{"attention.sliding_window", "sliding_window", false},
};

constexpr std::array kLlamaBlock = {
    GgufNameRow{"attn_norm", "input_layernorm"},
    GgufNameRow{"attn_q", "self_attn.q_proj", Biased::kAttention, Transform::kInterleavedQueries},
    GgufNameRow{"attn_k", "self_attn.k_proj", Biased::kAttention, Transform::kInterleavedKeys},
    GgufNameRow{"attn_v", "self_attn.v_proj", Biased::kAttention},
    GgufNameRow{"attn_output", "self_attn.o_proj", Biased::kAttention},
    GgufNameRow{"ffn_norm", "post_attention_layernorm"},
    GgufNameRow{"ffn_gate", "mlp.gate_proj", Biased::kMlp},
    GgufNameRow{"ffn_up", "mlp.up_proj", Biased::kMlp},
    GgufNameRow{"ffn_down", "mlp.down_proj", Biased::kMlp},
};

constexpr std::array kQwen2Block = {
    GgufNameRow{"attn_norm", "input_layernorm"},
    GgufNameRow{"attn_q", "self_attn.q_proj", Biased::kAttention},
    GgufNameRow{"attn_k", "self_attn.k_proj", Biased::kAttention},
    GgufNameRow{"attn_v", "self_attn.v_proj", Biased::kAttention},
    GgufNameRow{"attn_output", "self_attn.o_proj"},
    GgufNameRow{"ffn_norm", "post_attention_layernorm"},
    GgufNameRow{"ffn_gate", "mlp.gate_proj"},
    GgufNameRow{"ffn_up", "mlp.up_proj"},
    GgufNameRow{"ffn_down", "mlp.down_proj"},
};

constexpr std::array kQwen3Block = {
    GgufNameRow{"attn_norm", "input_layernorm"},    GgufNameRow{"attn_q", "self_attn.q_proj"},
    GgufNameRow{"attn_k", "self_attn.k_proj"},      GgufNameRow{"attn_v", "self_attn.v_proj"},
    GgufNameRow{"attn_q_norm", "self_attn.q_norm"}, GgufNameRow{"attn_k_norm", "self_attn.k_norm"},
    GgufNameRow{"attn_output", "self_attn.o_proj"}, GgufNameRow{"ffn_norm", "post_attention_layernorm"},
    GgufNameRow{"ffn_gate", "mlp.gate_proj"},       GgufNameRow{"ffn_up", "mlp.up_proj"},
    GgufNameRow{"ffn_down", "mlp.down_proj"},
};

constexpr std::array kOuterNames = {
    GgufNameRow{"token_embd", "model.embed_tokens"},
    GgufNameRow{"output_norm", "model.norm"},
    GgufNameRow{"output", "lm_head"},
};

constexpr std::array kGgufFamilies = {
    GgufFamily{"llama", "llama", "LlamaForCausalLM", false, kLlamaBlock},
    GgufFamily{"qwen2", "qwen2", "Qwen2ForCausalLM", true, kQwen2Block},
    GgufFamily{"qwen3", "qwen3", "Qwen3ForCausalLM", false, kQwen3Block},
};

// "blk.12.attn_q" -> 12, and `stem` becomes "attn_q"; nothing is changed where the name is of another form.
std::optional<std::size_t> TakeBlock(std::string_view before_block, std::string_view& stem) {
  if (!stem.starts_with(before_block)) return {};
  const char* const first = stem.data() + before_block.size();
  const char* const end = stem.data() + stem.size();
  std::size_t block = 0;
  const auto parsed = std::from_chars(first, end, block);
  if (parsed.ec != std::errc() || parsed.ptr == end || *parsed.ptr != '.') return {};
  stem = {parsed.ptr + 1, end};
  return block;
}

}  // namespace

std::span<const GgufFamily> GgufFamilies() { return kGgufFamilies; }
std::span<const GgufKeyRow> GgufKeyRows() { return kKeyRows; }
std::span<const GgufNameRow> GgufOuterNames() { return kOuterNames; }

NamedPlace FindPlace(const GgufFamily& family, const Spelling& spelling, std::string_view name) {
  NamedPlace place;
  const std::size_t dot = name.rfind('.');
  place.stem = name.substr(0, dot);
  place.ending = dot == std::string_view::npos ? "" : name.substr(dot);
  place.block = TakeBlock(spelling.before_block, place.stem);
  const std::span<const GgufNameRow> rows = place.block ? family.block : kOuterNames;
  const auto row = std::ranges::find(rows, place.stem, spelling.name);
  const bool fits =
      row != rows.end() && (place.ending == ".weight" || (place.ending == ".bias" && row->biased != Biased::kNever));
  if (fits) place.row = &*row;
  return place;
}

std::string NameOf(const NamedPlace& place, const Spelling& spelling) {
  MARLIN_CHECK(place.row != nullptr, "a place with a name");
  const std::string_view stem = place.row->*spelling.name;
  if (!place.block) return fmt::format("{}{}", stem, place.ending);
  return fmt::format("{}{}.{}{}", spelling.before_block, *place.block, stem, place.ending);
}

}  // namespace marlin
