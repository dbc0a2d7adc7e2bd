// Configurations as they were published must open; what no list knows must not.
#include "model/config_keys.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/families/family.h"

namespace marlin {
namespace {
using nlohmann::json;

struct Published {
  const char* name;
  const char* config;
  std::size_t parameters;  // as the model's card counts them
};

const Published kPublished[] = {
    {"Llama-3.1-8B",
     R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
         "bos_token_id": 128000, "eos_token_id": 128001, "hidden_act": "silu", "hidden_size": 4096,
         "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 131072, "mlp_bias": false,
         "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
         "pretraining_tp": 1, "rms_norm_eps": 1e-05,
         "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                          "original_max_position_embeddings": 8192, "rope_type": "llama3"},
         "rope_theta": 500000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
         "transformers_version": "4.43.0.dev0", "use_cache": true, "vocab_size": 128256})",
     8030261248},
    {"Llama-3.2-1B, saved again by a fine-tuning program",
     R"({"_attn_implementation_autoset": true, "_name_or_path": "x/Llama-3.2-1B-Instruct",
         "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
         "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu",
         "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192, "max_position_embeddings": 131072,
         "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 16,
         "num_key_value_heads": 8, "pad_token_id": 128004, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
         "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                          "original_max_position_embeddings": 8192, "rope_type": "llama3"},
         "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
         "transformers_version": "4.49.0", "unsloth_fixed": true, "unsloth_version": "2025.3.1", "use_cache": true,
         "vocab_size": 128256})",
     1235814400},
    {"Llama-2-7B",
     R"({"_name_or_path": "x/Llama-2-7b", "architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2,
         "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008,
         "max_position_embeddings": 4096, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32,
         "num_key_value_heads": 32, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": null,
         "tie_word_embeddings": false, "torch_dtype": "float16", "transformers_version": "4.31.0.dev0",
         "use_cache": true, "vocab_size": 32000})",
     6738415616},
    {"the first Llama, as converted in 2023",
     R"({"architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
         "hidden_size": 4096, "intermediate_size": 11008, "initializer_range": 0.02, "max_sequence_length": 2048,
         "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32, "pad_token_id": 0,
         "rms_norm_eps": 1e-06, "torch_dtype": "float16", "transformers_version": "4.27.0.dev0", "use_cache": true,
         "vocab_size": 32000})",
     6738415616},
    {"SmolLM2-135M-Instruct",
     R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
         "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664,
         "intermediate_size": 1536, "is_llama_config": true, "max_position_embeddings": 8192, "mlp_bias": false,
         "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3,
         "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_interleaved": false,
         "rope_scaling": null, "rope_theta": 100000, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
         "transformers_version": "4.42.3", "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
         "use_cache": true, "vocab_size": 49152})",
     134515008},
    {"TinyLlama-1.1B",
     R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": 1, "eos_token_id": 2,
         "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 5632,
         "max_position_embeddings": 2048, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 22,
         "num_key_value_heads": 4, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": null,
         "rope_theta": 10000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
         "transformers_version": "4.35.0", "use_cache": true, "vocab_size": 32000})",
     1100048384},
    {"Yi-6B",
     R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
         "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
         "intermediate_size": 11008, "max_position_embeddings": 4096, "model_type": "llama",
         "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 4, "pad_token_id": 0,
         "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 5000000.0,
         "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.37.2", "use_cache": true,
         "vocab_size": 64000})",
     6061035520},
    {"Qwen2.5-0.5B",
     R"({"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
         "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 896, "initializer_range": 0.02,
         "intermediate_size": 4864, "max_position_embeddings": 32768, "max_window_layers": 24, "model_type": "qwen2",
         "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
         "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
         "transformers_version": "4.40.1", "use_cache": true, "use_mrope": false, "use_sliding_window": false,
         "vocab_size": 151936})",
     494032768},
    {"Qwen2.5-1.5B-Instruct",
     R"({"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
         "eos_token_id": 151645, "hidden_act": "silu", "hidden_size": 1536, "initializer_range": 0.02,
         "intermediate_size": 8960, "max_position_embeddings": 32768, "max_window_layers": 21, "model_type": "qwen2",
         "num_attention_heads": 12, "num_hidden_layers": 28, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
         "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
         "transformers_version": "4.43.1", "use_cache": true, "use_sliding_window": false, "vocab_size": 151936})",
     1543714304},
    {"Qwen2.5-7B",
     R"({"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
         "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 3584, "initializer_range": 0.02,
         "intermediate_size": 18944, "max_position_embeddings": 131072, "max_window_layers": 28,
         "model_type": "qwen2", "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4,
         "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 131072, "tie_word_embeddings": false,
         "torch_dtype": "bfloat16", "transformers_version": "4.40.1", "use_cache": true, "use_mrope": false,
         "use_sliding_window": false, "vocab_size": 152064})",
     7615616512},
    {"DeepSeek-R1-Distill-Qwen-1.5B",
     R"({"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
         "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 1536, "initializer_range": 0.02,
         "intermediate_size": 8960, "max_position_embeddings": 131072, "max_window_layers": 21,
         "model_type": "qwen2", "num_attention_heads": 12, "num_hidden_layers": 28, "num_key_value_heads": 2,
         "rms_norm_eps": 1e-06, "rope_theta": 10000, "sliding_window": 4096, "tie_word_embeddings": false,
         "torch_dtype": "bfloat16", "transformers_version": "4.44.0", "use_cache": true, "use_mrope": false,
         "use_sliding_window": false, "vocab_size": 151936})",
     1777088000},
    {"Qwen3-0.6B",
     R"({"architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
         "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024,
         "initializer_range": 0.02, "intermediate_size": 3072, "max_position_embeddings": 40960,
         "max_window_layers": 28, "model_type": "qwen3", "num_attention_heads": 16, "num_hidden_layers": 28,
         "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000,
         "sliding_window": null, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
         "transformers_version": "4.51.0", "use_cache": true, "use_sliding_window": false, "vocab_size": 151936})",
     596049920},
    {"a Llama as transformers 5 saves it",
     R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
         "chunk_size_feed_forward": 0, "dtype": "bfloat16", "eos_token_id": 2, "head_dim": 64, "hidden_act": "silu",
         "hidden_size": 2048, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "initializer_range": 0.02,
         "intermediate_size": 5632, "is_encoder_decoder": false, "label2id": {"LABEL_0": 0, "LABEL_1": 1},
         "max_position_embeddings": 2048, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32,
         "num_hidden_layers": 22, "num_key_value_heads": 4, "output_attentions": false, "output_hidden_states": false,
         "pad_token_id": null, "pretraining_tp": 1, "problem_type": null, "return_dict": true, "rms_norm_eps": 1e-05,
         "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "tie_word_embeddings": false,
         "transformers_version": "5.24.0", "use_cache": true, "vocab_size": 32000})",
     1100048384},
    {"a Qwen2 as transformers 5 saves it",
     R"({"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": null, "dtype": "bfloat16",
         "eos_token_id": null, "hidden_act": "silu", "hidden_size": 896, "initializer_range": 0.02,
         "intermediate_size": 4864,
         "layer_types": ["full_attention", "full_attention", "full_attention", "full_attention",
                         "full_attention", "full_attention", "full_attention", "full_attention",
                         "full_attention", "full_attention", "full_attention", "full_attention",
                         "full_attention", "full_attention", "full_attention", "full_attention",
                         "full_attention", "full_attention", "full_attention", "full_attention",
                         "full_attention", "full_attention", "full_attention", "full_attention"],
         "max_position_embeddings": 32768,
         "max_window_layers": 28, "model_type": "qwen2", "num_attention_heads": 14, "num_hidden_layers": 24,
         "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
         "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"}, "sliding_window": null,
         "tie_word_embeddings": true, "transformers_version": "5.24.0", "use_cache": true,
         "use_sliding_window": false, "vocab_size": 151936})",
     494032768},
    {"a Llama with every default of transformers 4 written out",
     R"({"add_cross_attention": false, "architectures": ["LlamaForCausalLM"], "attention_bias": false,
         "attention_dropout": 0.0, "bad_words_ids": null, "begin_suppress_tokens": null, "bos_token_id": 1,
         "chunk_size_feed_forward": 0, "cross_attention_hidden_size": null, "decoder_start_token_id": null,
         "diversity_penalty": 0.0, "do_sample": false, "early_stopping": false, "encoder_no_repeat_ngram_size": 0,
         "eos_token_id": 2, "exponential_decay_length_penalty": null, "finetuning_task": null,
         "forced_bos_token_id": null, "forced_eos_token_id": null, "hidden_act": "silu", "hidden_size": 2048,
         "id2label": {"0": "LABEL_0"}, "initializer_range": 0.02, "intermediate_size": 5632, "is_decoder": false,
         "is_encoder_decoder": false, "label2id": {"LABEL_0": 0}, "length_penalty": 1.0, "max_length": 20,
         "max_position_embeddings": 2048, "min_length": 0, "model_type": "llama", "no_repeat_ngram_size": 0,
         "num_attention_heads": 32, "num_beam_groups": 1, "num_beams": 1, "num_hidden_layers": 22,
         "num_key_value_heads": 4, "num_return_sequences": 1, "output_attentions": false,
         "output_hidden_states": false, "output_scores": false, "pad_token_id": null, "prefix": null,
         "pretraining_tp": 1, "problem_type": null, "pruned_heads": {}, "remove_invalid_values": false,
         "repetition_penalty": 1.0, "return_dict": true, "return_dict_in_generate": false, "rms_norm_eps": 1e-05,
         "sep_token_id": null, "suppress_tokens": null, "task_specific_params": null, "temperature": 1.0,
         "tf_legacy_loss": false, "tie_encoder_decoder": false, "tie_word_embeddings": false,
         "tokenizer_class": null, "top_k": 50, "top_p": 1.0, "torch_dtype": "bfloat16", "torchscript": false,
         "transformers_version": "4.40.1", "typical_p": 1.0, "use_bfloat16": false, "use_cache": true,
         "vocab_size": 32000})",
     1100048384},
};

TEST(ConfigKeys, PublishedConfigurationsOpen) {
  for (const Published& published : kPublished) {
    const json config = json::parse(published.config);
    AcceptedNames accepted;
    const auto parsed = DescribeModel(config);
    ASSERT_TRUE(parsed.ok()) << published.name << ": " << parsed.error().message;
    const auto status = CheckConfigKeys(config, parsed->read_keys, published.name, accepted);
    EXPECT_TRUE(status.ok()) << status.error().message;
    EXPECT_EQ(CountParameters(*parsed), published.parameters) << published.name;
    EXPECT_TRUE(accepted.found().empty());
  }
}

Status Check(const std::string& key, const json& value, AcceptedNames& accepted) {
  json config = json::parse(kPublished[0].config);
  const auto parsed = DescribeModel(config);
  MARLIN_CHECK(parsed.ok(), "a published configuration");
  config[key] = value;
  return CheckConfigKeys(config, parsed->read_keys, "x/config.json", accepted);
}

TEST(ConfigKeys, SettingsThatChangeNumbersAreNamed) {
  const std::vector<std::pair<std::string, json>> settings = {
      {"attention_multiplier", 0.5},
      {"embedding_multiplier", 12},
      {"logits_scaling", 8},
      {"residual_multiplier", 0.22},
      {"logit_scale", 0.0625},
      {"attn_logit_softcapping", 50},
      {"pretraining_tp", 2},
      {"qk_norm", true},
      {"is_causal", false},
      {"layer_types", json::array({"full_attention", "sliding_attention"})},
      {"no_rope_layers", json::array({1, 0})},
      {"num_local_experts", 8},
      {"pruned_heads", json{{"0", {1}}}},
      {"auto_map", json{{"AutoModelForCausalLM", "modeling_x.LlamaForCausalLM"}}},
      {"dual_chunk_attention_config", json{{"chunk_size", 262144}}},
      {"text_config", json::object()},
  };
  for (const auto& [key, value] : settings) {
    AcceptedNames none;
    const auto status = Check(key, value, none);
    ASSERT_FALSE(status.ok()) << key;
    EXPECT_EQ(status.error().code, ErrorCode::kUnsupported);
    for (const std::string& part : {std::string("x/config.json"), "\"" + key + "\" is ", "--accept-unknown " + key}) {
      EXPECT_NE(status.error().message.find(part), std::string::npos) << status.error().message;
    }
    AcceptedNames accepted({key, "another"});
    EXPECT_TRUE(Check(key, value, accepted).ok()) << key;
    EXPECT_EQ(accepted.found(), std::vector<std::string>{key});
  }
}

TEST(ConfigKeys, NeutralValuesAndNullAreNothing) {
  const std::vector<std::pair<std::string, json>> settings = {{"attention_multiplier", nullptr},
                                                              {"embedding_multiplier", 1.0},
                                                              {"pretraining_tp", 1},
                                                              {"qk_norm", false},
                                                              {"is_causal", true},
                                                              {"never_heard_of", nullptr},
                                                              {"num_local_experts", 0},
                                                              {"pruned_heads", json::object()}};
  for (const auto& [key, value] : settings) {
    AcceptedNames none;
    const auto status = Check(key, value, none);
    EXPECT_TRUE(status.ok()) << status.error().message;
  }
}

}  // namespace
}  // namespace marlin
