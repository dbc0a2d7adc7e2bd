#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "model/families/family.h"

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

const std::vector<float>& Frequencies(const Description& description) {
  return description.ropes[0].scaling.frequencies;
}

std::vector<std::string> Biased(const Description& description) {
  std::vector<std::string> names;
  for (const Block& block : description.blocks) {
    for (const Matrix& matrix : block.matrices) {
      if (matrix.bias) names.push_back(matrix.name);
    }
  }
  return names;
}

TEST(Llama, Smollm135M) {
  const auto config = DescribeModel(Smollm());
  ASSERT_TRUE(config.ok()) << config.error().message;
  const Dimensions sizes = DimensionsOf(*config);
  EXPECT_EQ(sizes.head_dim, 64u);
  EXPECT_EQ(sizes.kv_heads, 3u);
  EXPECT_TRUE(config->tied_head());
  EXPECT_TRUE(Biased(*config).empty());
  EXPECT_EQ(CountParameters(*config), 134515008u);  // as the model's card counts them
  EXPECT_EQ(Frequencies(*config).size(), 32u);
  EXPECT_EQ(Frequencies(*config)[0], 1.0f);
  EXPECT_NEAR(Frequencies(*config)[16], 1 / std::sqrt(100000.0), 1e-9);
  EXPECT_EQ(config->blocks[3].matrices.back().name, "model.layers.3.mlp.down_proj");
}

TEST(Llama, Qwen2HasBiasesOnQkvOnly) {
  json config = Smollm();
  config["architectures"] = {"Qwen2ForCausalLM"};
  config["sliding_window"] = 32768;
  config["use_sliding_window"] = false;
  const auto parsed = DescribeModel(config);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const std::vector<std::string> biased = Biased(*parsed);
  ASSERT_EQ(biased.size(), 90u);
  EXPECT_EQ(std::vector(biased.end() - 3, biased.end()),
            (std::vector<std::string>{"model.layers.29.self_attn.q_proj", "model.layers.29.self_attn.k_proj",
                                      "model.layers.29.self_attn.v_proj"}));
}

TEST(Llama, Qwen3NormsEveryQueryAndKey) {
  json config = Smollm();
  config["architectures"] = {"Qwen3ForCausalLM"};
  config["head_dim"] = 128;
  const auto parsed = DescribeModel(config);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(DimensionsOf(*parsed).head_dim, 128u);
  EXPECT_TRUE(Biased(*parsed).empty());
  for (const Block& block : parsed->blocks) {
    const auto& attention = std::get<Attention>(block.mixer);
    ASSERT_TRUE(attention.q_norm && attention.k_norm && !attention.v_norm);
    for (const std::size_t norm : {*attention.q_norm, *attention.k_norm}) {
      EXPECT_EQ(block.vectors[*block.norms[norm].weight].size, 128u);
    }
  }
  config["attention_bias"] = true;
  EXPECT_EQ(Biased(*DescribeModel(config)).size(), 120u) << "of q, k, v and o";
  config["mlp_bias"] = true;
  EXPECT_EQ(DescribeModel(config).error().code, ErrorCode::kUnsupported);
}

TEST(Llama, Llama3ScalingKeepsHighAndDividesLowFrequencies) {
  json config = Smollm();
  config["rope_scaling"] = {{"rope_type", "llama3"},
                            {"factor", 8.0},
                            {"low_freq_factor", 1.0},
                            {"high_freq_factor", 4.0},
                            {"original_max_position_embeddings", 8192}};
  const auto scaled = DescribeModel(config);
  const auto plain = DescribeModel(Smollm());
  ASSERT_TRUE(scaled.ok()) << scaled.error().message;
  EXPECT_EQ(Frequencies(*scaled)[0], Frequencies(*plain)[0]);
  EXPECT_FLOAT_EQ(Frequencies(*scaled)[31], Frequencies(*plain)[31] / 8);
}

TEST(Llama, AQwen2WindowBeginsAtALayer) {
  json config = Smollm();
  config["architectures"] = {"Qwen2ForCausalLM"};
  config["sliding_window"] = 4096;
  config["use_sliding_window"] = true;
  for (const std::size_t first : {30u, 29u, 0u}) {
    config["max_window_layers"] = first;
    const auto parsed = DescribeModel(config);
    ASSERT_TRUE(parsed.ok()) << parsed.error().message;
    for (std::size_t i = 0; i < 30; ++i) {
      const auto window = std::get<Attention>(parsed->blocks[i].mixer).window;
      EXPECT_EQ(window, i >= first ? std::optional<std::size_t>(4096) : std::nullopt) << first << " " << i;
    }
  }
  config["use_sliding_window"] = false;
  EXPECT_FALSE(std::get<Attention>(DescribeModel(config)->blocks[0].mixer).window.has_value());
  config["layer_types"] = std::vector<std::string>(30, "sliding_attention");
  EXPECT_EQ(DescribeModel(config).error().code, ErrorCode::kInput) << "layer_types and use_sliding_window contradict";
}

TEST(Llama, BiasesOfSingleLayers) {
  json config = Smollm();
  config["attention_bias"] = true;
  config["metal_marlin_biases"] = {"model.layers.0.self_attn.v_proj", "model.layers.29.mlp.down_proj"};
  const auto parsed = DescribeModel(config);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(Biased(*parsed),
            (std::vector<std::string>{"model.layers.0.self_attn.v_proj", "model.layers.29.mlp.down_proj"}));
  EXPECT_EQ(CountParameters(*parsed), 134515008u + 192 + 576);
  for (const json& wrong : {json("model.layers.0.self_attn.v_proj"), json{"model.layers.30.self_attn.v_proj"},
                            json{"model.layers.0.self_attn.v_proj.bias"}, json{7}}) {
    config["metal_marlin_biases"] = wrong;
    EXPECT_EQ(DescribeModel(config).error().code, ErrorCode::kInput) << wrong.dump();
  }
}

// Rotary settings as transformers reads them: what is missing stops, what contradicts itself stops, nothing is guessed.
TEST(Llama, OddRotarySettings) {
  struct Odd {
    json config;
    ErrorCode code;
    const char* part;
  };
  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 8192}};
  const auto without = [&](const char* key) {
    json scaling = llama3;
    scaling.erase(key);
    return scaling;
  };
  const json plain = {{"rope_type", "default"}, {"rope_theta", 100000}};
  const std::vector<Odd> odd = {
      {{{"rope_scaling", {{"type", "linear"}}}}, ErrorCode::kInput, "has no \"factor\""},
      {{{"rope_scaling", {{"rope_type", "linear"}, {"factor", nullptr}}}}, ErrorCode::kInput, "has no \"factor\""},
      {{{"rope_scaling", {{"rope_type", "llama3"}}}}, ErrorCode::kInput, "has no \"factor\""},
      {{{"rope_scaling", without("low_freq_factor")}}, ErrorCode::kInput, "has no \"low_freq_factor\""},
      {{{"rope_parameters", without("original_max_position_embeddings")}},
       ErrorCode::kInput,
       "has no \"original_max_position_embeddings\""},
      {{{"rope_scaling", {{"rope_type", "yarn"}}}}, ErrorCode::kInput, "has no \"original_max_position_embeddings\""},
      {{{"rope_scaling",
         {{"rope_type", "longrope"}, {"original_max_position_embeddings", 32}, {"short_factor", {1, 2}}}}},
       ErrorCode::kInput,
       "\"short_factor\" is no list of 32 positive numbers"},
      {{{"rope_scaling", {{"rope_type", "ntk"}}}}, ErrorCode::kUnsupported, "\"ntk\""},
      {{{"rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2}}}}, ErrorCode::kUnsupported, "\"dynamic\""},
      {{{"rope_scaling", {{"rope_type", "linear"}, {"type", "dynamic"}, {"factor", 2}}}},
       ErrorCode::kInput,
       "\"type\""},
      {{{"rope_scaling", {{"rope_type", "linear"}, {"factor", 2}, {"beta_fast", 32}}}},
       ErrorCode::kUnsupported,
       "\"beta_fast\""},
      {{{"rope_scaling", {{"factor", 4}}}}, ErrorCode::kUnsupported, "\"factor\" is 4"},
      {{{"rope_parameters", {{"rope_type", "default"}, {"partial_rotary_factor", 0.5}}}},
       ErrorCode::kUnsupported,
       "\"partial_rotary_factor\" is 0.5"},
      {{{"rope_parameters", {{"full_attention", plain}}}}, ErrorCode::kUnsupported, "\"full_attention\""},
      {{{"rope_parameters", plain}, {"rope_scaling", {{"type", "linear"}, {"factor", 4}}}},
       ErrorCode::kInput,
       "\"rope_parameters\" and \"rope_scaling\" contradict"},
      {{{"rope_parameters", {{"rope_theta", 5000}}}}, ErrorCode::kInput, "\"rope_theta\" is 100000 and 5000"},
  };
  for (const Odd& one : odd) {
    json config = Smollm();
    config.update(one.config);
    const auto parsed = DescribeModel(config);
    ASSERT_FALSE(parsed.ok()) << one.config.dump();
    EXPECT_EQ(parsed.error().code, one.code) << parsed.error().message;
    EXPECT_NE(parsed.error().message.find(one.part), std::string::npos) << parsed.error().message;
  }
  const std::vector<float> want = Frequencies(*DescribeModel(Smollm()));
  for (const json& same : std::vector<json>{
           {{"rope_parameters", plain}},
           {{"rope_parameters", plain}, {"rope_scaling", nullptr}},
           {{"rope_parameters", plain}, {"rope_scaling", json::object()}},
           {{"rope_parameters", plain}, {"rope_scaling", {{"rope_type", "default"}}}},
           {{"rope_scaling", {{"type", "linear"}, {"factor", 1}}}},
           {{"rope_parameters", {{"rope_type", "default"}, {"partial_rotary_factor", 1.0}, {"factor", 1.0}}}}}) {
    json config = Smollm();
    config.update(same);
    const auto parsed = DescribeModel(config);
    ASSERT_TRUE(parsed.ok()) << parsed.error().message;
    EXPECT_EQ(Frequencies(*parsed), want) << same.dump();
  }
}

struct Refusal {
  const char* key;
  json value;
  ErrorCode code;
};

TEST(Llama, RefusesNumbersThatFp32CannotHold) {
  for (const auto& [key, value] : {std::pair{"rms_norm_eps", 1e-300}, std::pair{"rms_norm_eps", 1e300},
                                   std::pair{"rope_theta", 1e-300}, std::pair{"rope_theta", 1e300}}) {
    json config = Smollm();
    config[key] = value;
    EXPECT_EQ(DescribeModel(config).error().code, ErrorCode::kInput) << key << " " << value;
  }
  json config = Smollm();
  config["rope_theta"] = 1e-30;
  config["rope_scaling"] = {{"type", "linear"}, {"factor", 1e-30}};
  const auto parsed = DescribeModel(config);
  ASSERT_FALSE(parsed.ok());
  EXPECT_NE(parsed.error().message.find("a rotary frequency becomes inf"), std::string::npos) << parsed.error().message;
}

TEST(Llama, RefusesSizesWhoseProductsOverflow) {
  json config = Smollm();
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"}) {
    config[key] = (std::int64_t{1} << 31) - 2;
  }
  config["head_dim"] = 64;
  const auto parsed = DescribeModel(config);
  ASSERT_FALSE(parsed.ok());
  EXPECT_NE(parsed.error().message.find("more than any model"), std::string::npos) << parsed.error().message;
}

TEST(Llama, RefusesWhatItCannotCompute) {
  const Refusal refusals[] = {
      {"architectures", json::array({"MambaForCausalLM"}), ErrorCode::kUnsupported},
      {"architectures", json::array({"GptOssForCausalLM"}), ErrorCode::kUnsupported},
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
      {"rope_scaling", json{{"type", "yarn"}, {"factor", 2}}, ErrorCode::kInput},
      {"rope_scaling", "linear", ErrorCode::kInput},
      {"partial_rotary_factor", 0.5, ErrorCode::kUnsupported},
      {"rms_norm_eps", "tiny", ErrorCode::kInput},
      {"model_type", "qwen2", ErrorCode::kInput},
      {"tie_word_embeddings", "yes", ErrorCode::kInput},
  };
  for (const Refusal& refusal : refusals) {
    json config = Smollm();
    config[refusal.key] = refusal.value;
    const auto parsed = DescribeModel(config);
    ASSERT_FALSE(parsed.ok()) << refusal.key;
    EXPECT_EQ(parsed.error().code, refusal.code) << refusal.key << ": " << parsed.error().message;
  }
  EXPECT_EQ(DescribeModel(json::array()).error().code, ErrorCode::kInput);
}

}  // namespace
}  // namespace marlin
