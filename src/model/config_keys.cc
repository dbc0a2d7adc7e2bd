#include "model/config_keys.h"

#include <array>
#include <nlohmann/json.hpp>

#include "files/known_keys.h"

namespace marlin {
namespace {
using nlohmann::json;

constexpr std::array kKeys = {
    // Read outside the families (family.cc, quantized_layout.cc, text_model.cc, text/).
    KnownKey{"architectures"},
    KnownKey{"model_type"},
    KnownKey{"quantization_config"},
    KnownKey{"quantization"},
    KnownKey{"bos_token_id"},
    KnownKey{"eos_token_id"},
    KnownKey{"pad_token_id"},
    // The type of the weights is read from the tensors.
    KnownKey{"torch_dtype"},
    KnownKey{"dtype"},
    KnownKey{"use_bfloat16"},
    // Training: initial values and dropout.
    KnownKey{"initializer_range"},
    KnownKey{"attention_dropout"},
    KnownKey{"hidden_dropout"},
    KnownKey{"hidden_dropout_prob"},
    KnownKey{"attention_probs_dropout_prob"},
    KnownKey{"resid_pdrop"},
    KnownKey{"embd_pdrop"},
    KnownKey{"attn_pdrop"},
    KnownKey{"dropout"},
    KnownKey{"gradient_checkpointing"},
    KnownKey{"router_aux_loss_coef"},
    // How a program computes, not what.
    KnownKey{"use_cache"},
    KnownKey{"return_dict"},
    KnownKey{"output_attentions"},
    KnownKey{"output_hidden_states"},
    KnownKey{"output_scores"},
    KnownKey{"return_dict_in_generate"},
    KnownKey{"torchscript"},
    KnownKey{"tf_legacy_loss"},
    KnownKey{"chunk_size_feed_forward"},
    KnownKey{"cache_implementation"},
    KnownKey{"attn_implementation"},
    KnownKey{"_attn_implementation"},
    KnownKey{"_attn_implementation_internal"},
    KnownKey{"_attn_implementation_autoset"},
    KnownKey{"_experts_implementation"},
    KnownKey{"_flash_attn_2_enabled"},
    KnownKey{"use_flash_attn"},
    KnownKey{"use_flash_attention"},
    KnownKey{"flash_attention"},
    KnownKey{"model_parallel"},
    KnownKey{"xla_device"},
    KnownKey{"transformers.js_config"},
    KnownKey{"transformers_weights"},
    // Where the file comes from.
    KnownKey{"_name_or_path"},
    KnownKey{"name_or_path"},
    KnownKey{"_commit_hash"},
    KnownKey{"_from_model_config"},
    KnownKey{"transformers_version"},
    KnownKey{"mergekit*"},
    KnownKey{"unsloth_fixed"},
    KnownKey{"unsloth_version"},
    KnownKey{"is_llama_config"},
    KnownKey{"max_sequence_length"},
    KnownKey{"n_ctx"},
    KnownKey{"summary_*"},
    KnownKey{"model_max_length"},
    KnownKey{"tokenizer_class"},
    KnownKey{"tokenizer_model_max_length"},
    KnownKey{"tokenizer_padding_side"},
    // Classification heads, which this program does not run; a tensor of one would be an error.
    KnownKey{"id2label"},
    KnownKey{"label2id"},
    KnownKey{"num_labels"},
    KnownKey{"problem_type"},
    KnownKey{"finetuning_task"},
    KnownKey{"task_specific_params"},
    KnownKey{"classifier_dropout"},
    // Generation: this program takes the likeliest token, and measures without generating.
    KnownKey{"max_length"},
    KnownKey{"min_length"},
    KnownKey{"max_new_tokens"},
    KnownKey{"do_sample"},
    KnownKey{"early_stopping"},
    KnownKey{"num_beams"},
    KnownKey{"num_beam_groups"},
    KnownKey{"diversity_penalty"},
    KnownKey{"temperature"},
    KnownKey{"top_k"},
    KnownKey{"top_p"},
    KnownKey{"typical_p"},
    KnownKey{"repetition_penalty"},
    KnownKey{"length_penalty"},
    KnownKey{"no_repeat_ngram_size"},
    KnownKey{"encoder_no_repeat_ngram_size"},
    KnownKey{"bad_words_ids"},
    KnownKey{"num_return_sequences"},
    KnownKey{"forced_bos_token_id"},
    KnownKey{"forced_eos_token_id"},
    KnownKey{"remove_invalid_values"},
    KnownKey{"exponential_decay_length_penalty"},
    KnownKey{"suppress_tokens"},
    KnownKey{"begin_suppress_tokens"},
    KnownKey{"decoder_start_token_id"},
    KnownKey{"sep_token_id"},
    KnownKey{"unk_token_id"},
    KnownKey{"prefix"},
    // Without effect with these values.
    KnownKey{"pretraining_tp", &kOne},
    KnownKey{"tensor_parallel_size", &kOne},
    KnownKey{"layer_types", &kFullAttention},
    KnownKey{"is_decoder"},
    KnownKey{"is_causal", &kTrue},
    KnownKey{"use_bidirectional_attention", &kFalse},
    KnownKey{"is_encoder_decoder", &kFalse},
    KnownKey{"add_cross_attention", &kFalse},
    KnownKey{"tie_encoder_decoder", &kFalse},
    KnownKey{"cross_attention_hidden_size", &kZero},
    KnownKey{"pruned_heads", &kEmpty},
    KnownKey{"attention_bias", &kFalse},
    KnownKey{"mlp_bias", &kFalse},
    KnownKey{"lm_head_bias", &kFalse},
    KnownKey{"full_attn_mod", &kOne},
    KnownKey{"interpolate_factor", &kOne},
    KnownKey{"use_sliding_window", &kFalse},
    KnownKey{"max_window_layers"},
    KnownKey{"partial_rotary_factor", &kOne},
    KnownKey{"rope_interleaved", &kFalse},
    KnownKey{"rope_traditional", &kFalse},
    KnownKey{"rotary_pct", &kOne},
    KnownKey{"use_mrope", &kFalse},
    KnownKey{"use_dynamic_ntk", &kFalse},
    KnownKey{"use_logn_attn", &kFalse},
    KnownKey{"qk_layernorm", &kFalse},
    KnownKey{"qk_norm", &kFalse},
    KnownKey{"use_qk_norm", &kFalse},
    KnownKey{"embedding_multiplier", &kOne},
    KnownKey{"residual_multiplier", &kOne},
    KnownKey{"logits_scaling", &kOne},
    KnownKey{"logit_scale", &kOne},
    KnownKey{"attn_logit_softcapping", &kZero},
    KnownKey{"final_logit_softcapping", &kZero},
    KnownKey{"num_nextn_predict_layers", &kZero},
    KnownKey{"num_experts", &kZero},
    KnownKey{"num_local_experts", &kZero},
    // The model's own code, which could compute anything under a known name.
    KnownKey{"auto_map", &kEmpty},
};

}  // namespace

Status CheckConfigKeys(const json& config, const std::set<std::string, std::less<>>& read, std::string_view where,
                       AcceptedNames& accepted) {
  for (const auto& [key, value] : config.items()) {
    if (value.is_null() || read.contains(key)) continue;
    if (auto status = CheckKey(FindKnownKey(kKeys, key), key, value, where, accepted); !status) return status;
  }
  return {};
}

}  // namespace marlin
