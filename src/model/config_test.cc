#include "model/config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace marlin {
namespace {
using nlohmann::json;

json Smollm() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"vocab_size", 49152},
          {"hidden_size", 576},
          {"intermediate_size", 1536},
          {"num_hidden_layers", 30},
          {"num_attention_heads", 9},
          {"num_key_value_heads", 3},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 100000},
          {"tie_word_embeddings", true},
          {"hidden_act", "silu"},
          {"max_position_embeddings", 8192}};
}

TEST(ModelConfig, Smollm135M) {
  const auto config = ParseModelConfig(Smollm());
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->head_dim, 64u);
  EXPECT_EQ(config->kv_size(), 192u);
  EXPECT_TRUE(config->tied_head);
  EXPECT_FALSE(config->qkv_bias);
  EXPECT_EQ(CountParameters(*config), 134515008u);  // as the model's card counts them
  EXPECT_EQ(config->rope_frequencies.size(), 32u);
  EXPECT_EQ(config->rope_frequencies[0], 1.0f);
  EXPECT_NEAR(config->rope_frequencies[16], 1 / std::sqrt(100000.0), 1e-9);
  EXPECT_EQ(LinearStem(3, kDown), "model.layers.3.mlp.down_proj");
}

TEST(ModelConfig, Qwen2HasBiasesOnQkvOnly) {
  json config = Smollm();
  config["architectures"] = {"Qwen2ForCausalLM"};
  config["sliding_window"] = 32768;
  config["use_sliding_window"] = false;
  const auto parsed = ParseModelConfig(config);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_TRUE(parsed->qkv_bias);
  EXPECT_FALSE(parsed->output_bias);
  config["use_sliding_window"] = true;
  EXPECT_EQ(ParseModelConfig(config).error().code, ErrorCode::kUnsupported);
}

TEST(ModelConfig, Llama3ScalingKeepsHighAndDividesLowFrequencies) {
  json config = Smollm();
  config["rope_scaling"] = {{"rope_type", "llama3"},
                            {"factor", 8.0},
                            {"low_freq_factor", 1.0},
                            {"high_freq_factor", 4.0},
                            {"original_max_position_embeddings", 8192}};
  const auto scaled = ParseModelConfig(config);
  const auto plain = ParseModelConfig(Smollm());
  ASSERT_TRUE(scaled.ok()) << scaled.error().message;
  EXPECT_EQ(scaled->rope_frequencies[0], plain->rope_frequencies[0]);
  EXPECT_FLOAT_EQ(scaled->rope_frequencies[31], plain->rope_frequencies[31] / 8);
}

struct Refusal {
  const char* key;
  json value;
  ErrorCode code;
};

TEST(ModelConfig, RefusesNumbersThatFp32CannotHold) {
  for (const auto& [key, value] : {std::pair{"rms_norm_eps", 1e-300}, std::pair{"rms_norm_eps", 1e300},
                                   std::pair{"rope_theta", 1e-300}, std::pair{"rope_theta", 1e300}}) {
    json config = Smollm();
    config[key] = value;
    EXPECT_EQ(ParseModelConfig(config).error().code, ErrorCode::kInput) << key << " " << value;
  }
  json config = Smollm();
  config["rope_theta"] = 1e-30;
  config["rope_scaling"] = {{"type", "linear"}, {"factor", 1e-30}};
  const auto parsed = ParseModelConfig(config);
  ASSERT_FALSE(parsed.ok());
  EXPECT_NE(parsed.error().message.find("a rotary frequency becomes inf"), std::string::npos) << parsed.error().message;
}

TEST(ModelConfig, RefusesSizesWhoseProductsOverflow) {
  json config = Smollm();
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"}) {
    config[key] = (std::int64_t{1} << 31) - 2;
  }
  config["head_dim"] = 64;
  const auto parsed = ParseModelConfig(config);
  ASSERT_FALSE(parsed.ok());
  EXPECT_NE(parsed.error().message.find("more than any model"), std::string::npos) << parsed.error().message;
}

TEST(ModelConfig, RefusesWhatItCannotCompute) {
  const Refusal refusals[] = {
      {"architectures", json::array({"MambaForCausalLM"}), ErrorCode::kUnsupported},
      {"architectures", "LlamaForCausalLM", ErrorCode::kInput},
      {"hidden_size", -576, ErrorCode::kInput},
      {"hidden_size", 1e30, ErrorCode::kInput},
      {"hidden_size", "576", ErrorCode::kInput},
      {"vocab_size", nullptr, ErrorCode::kInput},
      {"num_hidden_layers", 1ull << 62, ErrorCode::kInput},
      {"num_key_value_heads", 2, ErrorCode::kInput},
      {"head_dim", 63, ErrorCode::kInput},
      {"hidden_act", "relu", ErrorCode::kUnsupported},
      {"hidden_act", 3, ErrorCode::kInput},
      {"rope_scaling", json{{"type", "yarn"}, {"factor", 2}}, ErrorCode::kUnsupported},
      {"rope_scaling", "linear", ErrorCode::kInput},
      {"sliding_window", 4096, ErrorCode::kUnsupported},
      {"partial_rotary_factor", 0.5, ErrorCode::kUnsupported},
      {"rms_norm_eps", "tiny", ErrorCode::kInput},
      {"tie_word_embeddings", "yes", ErrorCode::kInput},
  };
  for (const Refusal& refusal : refusals) {
    json config = Smollm();
    config[refusal.key] = refusal.value;
    const auto parsed = ParseModelConfig(config);
    ASSERT_FALSE(parsed.ok()) << refusal.key;
    EXPECT_EQ(parsed.error().code, refusal.code) << refusal.key << ": " << parsed.error().message;
  }
  EXPECT_EQ(ParseModelConfig(json::array()).error().code, ErrorCode::kInput);
}

}  // namespace
}  // namespace marlin
