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
    GgufKeyRow{"attention.layer_norm_rms_epsilon", "rms_norm_eps", true, GgufType::kF32},
    GgufKeyRow{"rope.freq_base", "rope_theta", false, GgufType::kF32},
    GgufKeyRow{"context_length", "max_position_embeddings", true},
    GgufKeyRow{"attention.sliding_window", "sliding_window", false},
};

constexpr std::array kGemma2Keys = {
    GgufKeyRow{"attn_logit_softcapping", "attn_logit_softcapping", false, GgufType::kF32},
    GgufKeyRow{"final_logit_softcapping", "final_logit_softcapping", false, GgufType::kF32},
};

constexpr std::array kGemma3Keys = {
    GgufKeyRow{"final_logit_softcapping", "final_logit_softcapping", false, GgufType::kF32},
    GgufKeyRow{"rope.freq_base_swa", "rope_local_base_freq", false, GgufType::kF32},
};

// Numbers for each type of block are read by FinishGemma4.
constexpr std::array kGemma4Keys = {
    GgufKeyRow{"final_logit_softcapping", "final_logit_softcapping", false, GgufType::kF32},
    GgufKeyRow{"attention.shared_kv_layers", "num_kv_shared_layers", false},
    GgufKeyRow{"embedding_length_per_layer_input", "hidden_size_per_layer_input", true},
    GgufKeyRow{"attention.head_count_kv", nullptr, false},
    GgufKeyRow{"attention.key_length", nullptr, false},
    GgufKeyRow{"feed_forward_length", nullptr, true},
};

constexpr std::array kGraniteKeys = {
    GgufKeyRow{"attention.scale", "attention_multiplier", true, GgufType::kF32},
    GgufKeyRow{"embedding_scale", "embedding_multiplier", true, GgufType::kF32},
    GgufKeyRow{"residual_scale", "residual_multiplier", true, GgufType::kF32},
    GgufKeyRow{"logit_scale", "logits_scaling", true, GgufType::kF32},
};

constexpr std::array kGpt2Keys = {
    GgufKeyRow{"embedding_length", "n_embd", true},
    GgufKeyRow{"feed_forward_length", "n_inner", true},
    GgufKeyRow{"block_count", "n_layer", true},
    GgufKeyRow{"attention.head_count", "n_head", true},
    GgufKeyRow{"attention.head_count_kv", nullptr, false},
    GgufKeyRow{"attention.layer_norm_rms_epsilon", nullptr, false},
    GgufKeyRow{"attention.layer_norm_epsilon", "layer_norm_epsilon", true, GgufType::kF32},
    GgufKeyRow{"context_length", "n_positions", true},
};

constexpr std::array kGptNeoxKeys = {
    GgufKeyRow{"attention.layer_norm_rms_epsilon", nullptr, false},
    GgufKeyRow{"attention.layer_norm_epsilon", "layer_norm_eps", true, GgufType::kF32},
    GgufKeyRow{"rope.freq_base", "rotary_emb_base", false, GgufType::kF32},
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

// Norms are stored + 1. Gemma 2 has none of heads.
constexpr std::array kGemma3Block = {
    GgufNameRow{"attn_norm", "input_layernorm", Biased::kNever, Transform::kPlusOne},
    GgufNameRow{"attn_q", "self_attn.q_proj"},
    GgufNameRow{"attn_k", "self_attn.k_proj"},
    GgufNameRow{"attn_v", "self_attn.v_proj"},
    GgufNameRow{"attn_q_norm", "self_attn.q_norm", Biased::kNever, Transform::kPlusOne},
    GgufNameRow{"attn_k_norm", "self_attn.k_norm", Biased::kNever, Transform::kPlusOne},
    GgufNameRow{"attn_output", "self_attn.o_proj"},
    GgufNameRow{"post_attention_norm", "post_attention_layernorm", Biased::kNever, Transform::kPlusOne},
    GgufNameRow{"ffn_norm", "pre_feedforward_layernorm", Biased::kNever, Transform::kPlusOne},
    GgufNameRow{"ffn_gate", "mlp.gate_proj"},
    GgufNameRow{"ffn_up", "mlp.up_proj"},
    GgufNameRow{"ffn_down", "mlp.down_proj"},
    GgufNameRow{"post_ffw_norm", "post_feedforward_layernorm", Biased::kNever, Transform::kPlusOne},
};

// "layer_scalar" has no ending in Hugging Face's files.
constexpr std::array kGemma4Block = {
    GgufNameRow{"attn_norm", "input_layernorm"},
    GgufNameRow{"attn_q", "self_attn.q_proj"},
    GgufNameRow{"attn_k", "self_attn.k_proj"},
    GgufNameRow{"attn_v", "self_attn.v_proj"},
    GgufNameRow{"attn_q_norm", "self_attn.q_norm"},
    GgufNameRow{"attn_k_norm", "self_attn.k_norm"},
    GgufNameRow{"attn_output", "self_attn.o_proj"},
    GgufNameRow{"post_attention_norm", "post_attention_layernorm"},
    GgufNameRow{"ffn_norm", "pre_feedforward_layernorm"},
    GgufNameRow{"ffn_gate", "mlp.gate_proj"},
    GgufNameRow{"ffn_up", "mlp.up_proj"},
    GgufNameRow{"ffn_down", "mlp.down_proj"},
    GgufNameRow{"post_ffw_norm", "post_feedforward_layernorm"},
    GgufNameRow{"inp_gate", "per_layer_input_gate"},
    GgufNameRow{"proj", "per_layer_projection"},
    GgufNameRow{"post_norm", "post_per_layer_input_norm"},
    GgufNameRow{"layer_output_scale", "layer_scalar", Biased::kNever, Transform::kNoEnding},
};

constexpr std::array kPhi3Block = {
    GgufNameRow{"attn_norm", "input_layernorm"},    GgufNameRow{"attn_qkv", "self_attn.qkv_proj"},
    GgufNameRow{"attn_output", "self_attn.o_proj"}, GgufNameRow{"ffn_norm", "post_attention_layernorm"},
    GgufNameRow{"ffn_up", "mlp.gate_up_proj"},      GgufNameRow{"ffn_down", "mlp.down_proj"},
};

constexpr std::array kOlmo2Block = {
    GgufNameRow{"attn_q", "self_attn.q_proj"},
    GgufNameRow{"attn_k", "self_attn.k_proj"},
    GgufNameRow{"attn_v", "self_attn.v_proj"},
    GgufNameRow{"attn_q_norm", "self_attn.q_norm"},
    GgufNameRow{"attn_k_norm", "self_attn.k_norm"},
    GgufNameRow{"attn_output", "self_attn.o_proj"},
    GgufNameRow{"post_attention_norm", "post_attention_layernorm"},
    GgufNameRow{"ffn_gate", "mlp.gate_proj"},
    GgufNameRow{"ffn_up", "mlp.up_proj"},
    GgufNameRow{"ffn_down", "mlp.down_proj"},
    GgufNameRow{"post_ffw_norm", "post_feedforward_layernorm"},
};

constexpr std::array kGlm4Block = {
    GgufNameRow{"attn_norm", "input_layernorm"},
    GgufNameRow{"attn_q", "self_attn.q_proj", Biased::kAttention},
    GgufNameRow{"attn_k", "self_attn.k_proj", Biased::kAttention},
    GgufNameRow{"attn_v", "self_attn.v_proj", Biased::kAttention},
    GgufNameRow{"attn_output", "self_attn.o_proj"},
    GgufNameRow{"post_attention_norm", "post_self_attn_layernorm"},
    GgufNameRow{"ffn_norm", "post_attention_layernorm"},
    GgufNameRow{"ffn_up", "mlp.gate_up_proj"},
    GgufNameRow{"ffn_down", "mlp.down_proj"},
    GgufNameRow{"post_ffw_norm", "post_mlp_layernorm"},
};

// GLM-4 without the norms of what each part adds.
constexpr std::array kGlmBlock = {
    GgufNameRow{"attn_norm", "input_layernorm"},
    GgufNameRow{"attn_q", "self_attn.q_proj", Biased::kAttention},
    GgufNameRow{"attn_k", "self_attn.k_proj", Biased::kAttention},
    GgufNameRow{"attn_v", "self_attn.v_proj", Biased::kAttention},
    GgufNameRow{"attn_output", "self_attn.o_proj"},
    GgufNameRow{"ffn_norm", "post_attention_layernorm"},
    GgufNameRow{"ffn_up", "mlp.gate_up_proj"},
    GgufNameRow{"ffn_down", "mlp.down_proj"},
};

constexpr std::array kSeedOssBlock = {
    GgufNameRow{"attn_norm", "input_layernorm"},
    GgufNameRow{"attn_q", "self_attn.q_proj", Biased::kAttention},
    GgufNameRow{"attn_k", "self_attn.k_proj", Biased::kAttention},
    GgufNameRow{"attn_v", "self_attn.v_proj", Biased::kAttention},
    GgufNameRow{"attn_output", "self_attn.o_proj"},
    GgufNameRow{"post_attention_norm", "post_attention_layernorm"},
    GgufNameRow{"ffn_gate", "mlp.gate_proj"},
    GgufNameRow{"ffn_up", "mlp.up_proj"},
    GgufNameRow{"ffn_down", "mlp.down_proj"},
};

constexpr std::array kGpt2Block = {
    GgufNameRow{"attn_norm", "ln_1", Biased::kAlways},
    GgufNameRow{"attn_qkv", "attn.c_attn", Biased::kAlways, Transform::kThreeParts},
    GgufNameRow{"attn_output", "attn.c_proj", Biased::kAlways, Transform::kTransposed},
    GgufNameRow{"ffn_norm", "ln_2", Biased::kAlways},
    GgufNameRow{"ffn_up", "mlp.c_fc", Biased::kAlways, Transform::kTransposed},
    GgufNameRow{"ffn_down", "mlp.c_proj", Biased::kAlways, Transform::kTransposed},
};

constexpr std::array kGptNeoxBlock = {
    GgufNameRow{"attn_norm", "input_layernorm", Biased::kAlways},
    GgufNameRow{"attn_qkv", "attention.query_key_value", Biased::kAlways, Transform::kThreeParts},
    GgufNameRow{"attn_output", "attention.dense", Biased::kAlways},
    GgufNameRow{"ffn_norm", "post_attention_layernorm", Biased::kAlways},
    GgufNameRow{"ffn_up", "mlp.dense_h_to_4h", Biased::kAlways},
    GgufNameRow{"ffn_down", "mlp.dense_4h_to_h", Biased::kAlways},
};

constexpr std::array kOuterNames = {
    GgufNameRow{"token_embd", "model.embed_tokens"},
    GgufNameRow{"output_norm", "model.norm"},
    GgufNameRow{"output", "lm_head"},
};

constexpr std::array kGemma3Outer = {
    GgufNameRow{"token_embd", "model.embed_tokens"},
    GgufNameRow{"output_norm", "model.norm", Biased::kNever, Transform::kPlusOne},
    GgufNameRow{"output", "lm_head"},
};

constexpr std::array kGemma4Outer = {
    GgufNameRow{"token_embd", "model.embed_tokens"},
    GgufNameRow{"output_norm", "model.norm"},
    GgufNameRow{"output", "lm_head"},
    GgufNameRow{"per_layer_token_embd", "model.embed_tokens_per_layer"},
    GgufNameRow{"per_layer_model_proj", "model.per_layer_model_projection"},
    GgufNameRow{"per_layer_proj_norm", "model.per_layer_projection_norm"},
};

constexpr std::array kGpt2Outer = {
    GgufNameRow{"token_embd", "transformer.wte"},
    GgufNameRow{"position_embd", "transformer.wpe"},
    GgufNameRow{"output_norm", "transformer.ln_f", Biased::kAlways},
    GgufNameRow{"output", "lm_head"},
};

constexpr std::array kGptNeoxOuter = {
    GgufNameRow{"token_embd", "gpt_neox.embed_in"},
    GgufNameRow{"output_norm", "gpt_neox.final_layer_norm", Biased::kAlways},
    GgufNameRow{"output", "embed_out"},
};

constexpr std::array kGgufFamilies = {
    GgufFamily{"llama",
               "llama",
               "LlamaForCausalLM",
               false,
               kLlamaBlock,
               kOuterNames,
               {},
               FinishLlama,
               WriteWithoutWindows,
               "model.layers.",
               true},
    GgufFamily{
        "qwen2", "qwen2", "Qwen2ForCausalLM", true, kQwen2Block, kOuterNames, {}, FinishLlama, WriteWithoutWindows},
    GgufFamily{
        "qwen3", "qwen3", "Qwen3ForCausalLM", false, kQwen3Block, kOuterNames, {}, FinishLlama, WriteWithoutWindows},
    GgufFamily{"gemma2", "gemma2", "Gemma2ForCausalLM", false, kGemma3Block, kGemma3Outer, kGemma2Keys, FinishGemma2,
               WriteGemma2},
    GgufFamily{"gemma3", "gemma3_text", "Gemma3ForCausalLM", false, kGemma3Block, kGemma3Outer, kGemma3Keys,
               FinishGemma3, WriteWindows},
    GgufFamily{"gemma4", "gemma4_text", "Gemma4ForCausalLM", false, kGemma4Block, kGemma4Outer, kGemma4Keys,
               FinishGemma4, WriteGemma4},
    GgufFamily{"mistral3",
               "ministral3",
               "Ministral3ForCausalLM",
               false,
               kLlamaBlock,
               kOuterNames,
               {},
               FinishMinistral3,
               WriteMinistral3,
               "model.layers.",
               true},
    GgufFamily{"phi3", "phi3", "Phi3ForCausalLM", false, kPhi3Block, kOuterNames, {}, FinishPhi3, WritePhi3},
    GgufFamily{"smollm3",
               "smollm3",
               "SmolLM3ForCausalLM",
               false,
               kLlamaBlock,
               kOuterNames,
               {},
               FinishLlama,
               WriteWithoutWindows},
    GgufFamily{"olmo2", "olmo2", "Olmo2ForCausalLM", false, kOlmo2Block, kOuterNames, {}, FinishOlmo2, WriteWindows},
    GgufFamily{"granite", "granite", "GraniteForCausalLM", false, kLlamaBlock, kOuterNames, kGraniteKeys, FinishLlama,
               WriteWithoutWindows, "model.layers.", true},
    GgufFamily{"glm4", "glm4", "Glm4ForCausalLM", false, kGlm4Block, kOuterNames, {}, FinishGlm4, WriteWithoutWindows},
    GgufFamily{"chatglm", "glm", "GlmForCausalLM", false, kGlmBlock, kOuterNames, {}, FinishChatGlm, WriteChatGlm},
    GgufFamily{"seed_oss",
               "seed_oss",
               "SeedOssForCausalLM",
               false,
               kSeedOssBlock,
               kOuterNames,
               {},
               FinishLlama,
               WriteWithoutWindows},
    GgufFamily{"gpt2", "gpt2", "GPT2LMHeadModel", true, kGpt2Block, kGpt2Outer, kGpt2Keys, FinishGpt2, nullptr,
               "transformer.h."},
    GgufFamily{"gptneox", "gpt_neox", "GPTNeoXForCausalLM", true, kGptNeoxBlock, kGptNeoxOuter, kGptNeoxKeys,
               FinishGptNeox, WriteGptNeox, "gpt_neox.layers."},
};

// Classes that are written as another family's: they differ from it in settings alone, or in none.
struct OtherClass {
  std::string_view hf_class, architecture;
};
constexpr std::array kOtherClasses = {OtherClass{"MistralForCausalLM", "llama"},
                                      OtherClass{"MinistralForCausalLM", "llama"},
                                      OtherClass{"Olmo3ForCausalLM", "olmo2"}};

constexpr std::string_view kGgufBlocks = "blk.";

std::string_view BlocksOf(const GgufFamily& family, Spelling spelling) {
  return spelling == Spelling::kGguf ? kGgufBlocks : family.hf_blocks;
}
std::string_view StemOf(const GgufNameRow& row, Spelling spelling) {
  return spelling == Spelling::kGguf ? row.gguf : row.hf;
}

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

const GgufFamily* GgufFamilyOfClass(std::string_view hf_class) {
  const auto other = std::ranges::find(kOtherClasses, hf_class, &OtherClass::hf_class);
  const auto found =
      other != kOtherClasses.end()
          ? std::ranges::find(kGgufFamilies, other->architecture, &GgufFamily::architecture)
          : std::ranges::find_if(kGgufFamilies, [&](const GgufFamily& f) { return f.hf_class == hf_class; });
  return found == kGgufFamilies.end() ? nullptr : &*found;
}

const char* GgufKeyOf(const GgufFamily& family, const GgufKeyRow& row) {
  const auto own = std::ranges::find(family.keys, row.suffix, &GgufKeyRow::suffix);
  return own == family.keys.end() ? row.key : own->key;
}

NamedPlace FindPlace(const GgufFamily& family, Spelling spelling, std::string_view name) {
  NamedPlace place;
  const std::size_t dot = name.rfind('.');
  place.stem = name.substr(0, dot);
  place.ending = dot == std::string_view::npos ? "" : name.substr(dot);
  place.block = TakeBlock(BlocksOf(family, spelling), place.stem);
  const std::span<const GgufNameRow> rows = place.block ? family.block : family.outer;
  const auto row = std::ranges::find_if(rows, [&](const GgufNameRow& r) { return StemOf(r, spelling) == place.stem; });
  const bool fits =
      row != rows.end() && (place.ending == ".weight" || (place.ending == ".bias" && row->biased != Biased::kNever));
  if (fits) place.row = &*row;
  return place;
}

std::string NameOf(const GgufFamily& family, const NamedPlace& place, Spelling spelling, std::string_view part) {
  MARLIN_CHECK(place.row != nullptr, "a place with a name");
  const std::string_view stem = StemOf(*place.row, spelling);
  if (!place.block) return fmt::format("{}{}{}", stem, part, place.ending);
  return fmt::format("{}{}.{}{}{}", BlocksOf(family, spelling), *place.block, stem, part, place.ending);
}

}  // namespace marlin
