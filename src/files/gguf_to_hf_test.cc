#include "files/gguf_to_hf.h"

#include <cmath>
#include <numbers>
#include <numeric>
#include <string>

#include "files/test_files.h"

namespace marlin {
namespace {

std::vector<float> Ramp(std::size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

class GgufToHf : public TemporaryFolder {
 protected:
  // Metadata of a model with 1 layer, 2 heads of 4 over 8 dimensions, 1 key-value head.
  static GgufBuilder Metadata(const std::string& arch) {
    GgufBuilder builder;
    builder.Text("general.architecture", arch)
        .U32(arch + ".embedding_length", 8)
        .U32(arch + ".feed_forward_length", 12);
    builder.U32(arch + ".block_count", 1)
        .U32(arch + ".attention.head_count", 2)
        .U32(arch + ".attention.head_count_kv", 1);
    builder.F32(arch + ".attention.layer_norm_rms_epsilon", 1e-5f).U32(arch + ".context_length", 64);
    return builder;
  }
  static GgufBuilder& Tensors(GgufBuilder& builder) {
    builder.Floats("token_embd.weight", {8, 5}, Ramp(40)).Floats("blk.0.attn_q.weight", {8, 8}, Ramp(64));
    return builder.Floats("blk.0.attn_k.weight", {8, 4}, Ramp(32)).Floats("blk.0.attn_v.weight", {8, 4}, Ramp(32));
  }
  Result<HuggingFaceView> Translate(const GgufBuilder& builder) {
    auto file = GgufFile::Open(Write("x.gguf", builder.Bytes()));
    if (!file) return file.error();
    files_.push_back(std::move(*file));
    return TranslateGguf(files_.back(), accepted_);
  }
  void ExpectError(const GgufBuilder& builder, ErrorCode code, const std::string& part) {
    const auto view = Translate(builder);
    ASSERT_FALSE(view.ok()) << part;
    EXPECT_EQ(view.error().code, code) << view.error().message;
    EXPECT_NE(view.error().message.find(part), std::string::npos) << view.error().message;
  }

  std::vector<GgufFile> files_;
  AcceptedNames accepted_;
};

TEST_F(GgufToHf, LlamaConfiguration) {
  GgufBuilder builder = Metadata("llama");
  builder.F32("llama.rope.freq_base", 100000).U32("llama.vocab_size", 5).U32("llama.rope.dimension_count", 4);
  builder.U32("tokenizer.ggml.bos_token_id", 1).U32("tokenizer.ggml.eos_token_id", 2);
  const auto view = Translate(Tensors(builder));
  ASSERT_TRUE(view.ok()) << view.error().message;
  const nlohmann::json want = {{"architectures", {"LlamaForCausalLM"}},
                               {"model_type", "llama"},
                               {"hidden_act", "silu"},
                               {"hidden_size", 8},
                               {"intermediate_size", 12},
                               {"num_hidden_layers", 1},
                               {"num_attention_heads", 2},
                               {"num_key_value_heads", 1},
                               {"rms_norm_eps", 1e-5},
                               {"rope_theta", 100000.0},
                               {"max_position_embeddings", 64},
                               {"vocab_size", 5},
                               {"tie_word_embeddings", true},
                               {"attention_bias", false},
                               {"mlp_bias", false},
                               {"bos_token_id", 1},
                               {"eos_token_id", 2},
                               {"torch_dtype", "float32"}};
  EXPECT_EQ(view->config, want) << view->config.dump(1);
}

TEST_F(GgufToHf, EveryEndTokenIsKept) {
  GgufBuilder builder = Metadata("llama");
  builder.U32("tokenizer.ggml.eos_token_id", 2).U32("tokenizer.ggml.eot_token_id", 4);
  builder.U32("tokenizer.ggml.eom_token_id", 2);
  builder.Array("tokenizer.ggml.eos_token_ids", GgufType::kI32, 2, Raw(std::int32_t{4}) + Raw(std::int32_t{3}));
  const auto view = Translate(Tensors(builder));
  ASSERT_TRUE(view.ok()) << view.error().message;
  EXPECT_EQ(view->config["eos_token_id"], nlohmann::json({2, 4, 3}));
}

TEST_F(GgufToHf, NamesAndRowOrder) {
  for (const bool llama : {true, false}) {
    GgufBuilder builder = Metadata(llama ? "llama" : "qwen2");
    Tensors(builder).Floats("blk.0.attn_q.bias", {8}, Ramp(8));
    builder.Floats("output.weight", {8, 5}, std::vector<float>(40, 1));
    builder.Floats("blk.0.attn_output.weight", {8, 8}, Ramp(64)).Floats("blk.0.ffn_norm.weight", {8}, Ramp(8));
    builder.Floats("output_norm.weight", {8}, Ramp(8));
    const auto view = Translate(builder);
    ASSERT_TRUE(view.ok()) << view.error().message;
    const std::vector<std::pair<std::string, std::size_t>> want = {
        {"model.embed_tokens.weight", 0},
        {"model.layers.0.self_attn.q_proj.weight", 2},
        {"model.layers.0.self_attn.k_proj.weight", 1},
        {"model.layers.0.self_attn.v_proj.weight", 0},
        {"model.layers.0.self_attn.q_proj.bias", 2},
        {"lm_head.weight", 0},
        {"model.layers.0.self_attn.o_proj.weight", 0},
        {"model.layers.0.post_attention_layernorm.weight", 0},
        {"model.norm.weight", 0}};
    ASSERT_EQ(view->tensors.size(), want.size());
    for (std::size_t i = 0; i < want.size(); ++i) {
      EXPECT_EQ(view->tensors[i].name, want[i].first);
      EXPECT_EQ(view->tensors[i].stored.rotary_heads, llama ? want[i].second : 0) << want[i].first;
    }
    EXPECT_EQ(view->config["tie_word_embeddings"], false);
    EXPECT_EQ(view->config["attention_bias"], true);
    EXPECT_EQ(view->config["architectures"][0], llama ? "LlamaForCausalLM" : "Qwen2ForCausalLM");
  }
}

TEST_F(GgufToHf, Qwen3HasNormsOfHeadsAndNoBiases) {
  GgufBuilder builder = Metadata("qwen3");
  builder.U32("qwen3.attention.key_length", 6).U32("qwen3.attention.value_length", 6);
  builder.Floats("token_embd.weight", {8, 5}, Ramp(40)).Floats("blk.0.attn_q.weight", {8, 12}, Ramp(96));
  builder.Floats("blk.0.attn_q_norm.weight", {6}, Ramp(6)).Floats("blk.0.attn_k_norm.weight", {6}, Ramp(6));
  const auto view = Translate(builder);
  ASSERT_TRUE(view.ok()) << view.error().message;
  EXPECT_EQ(view->tensors[1].stored.rotary_heads, 0u);
  EXPECT_EQ(view->tensors[2].name, "model.layers.0.self_attn.q_norm.weight");
  EXPECT_EQ(view->tensors[3].name, "model.layers.0.self_attn.k_norm.weight");
  EXPECT_EQ(view->config["architectures"][0], "Qwen3ForCausalLM");
  EXPECT_EQ(view->config["head_dim"], 6);
  EXPECT_EQ(view->config["attention_bias"], false);
  builder.Floats("blk.0.attn_q.bias", {12}, Ramp(12));
  ExpectError(builder, ErrorCode::kUnsupported, "tensor blk.0.attn_q.bias");
}

TEST_F(GgufToHf, RopeScaling) {
  GgufBuilder linear = Metadata("llama");
  linear.Text("llama.rope.scaling.type", "linear").F32("llama.rope.scaling.factor", 4);
  EXPECT_EQ(Translate(Tensors(linear))->config["rope_scaling"],
            (nlohmann::json{{"rope_type", "linear"}, {"factor", 4.0}}));
  GgufBuilder old = Metadata("llama");
  old.F32("llama.rope.scale_linear", 2);
  EXPECT_EQ(Translate(Tensors(old))->config["rope_scaling"]["factor"], 2.0);
  GgufBuilder yarn = Metadata("llama");
  yarn.Text("llama.rope.scaling.type", "yarn").F32("llama.rope.scaling.factor", 4);
  yarn.U32("llama.rope.scaling.original_context_length", 4096);
  EXPECT_EQ(Translate(Tensors(yarn))->config["rope_scaling"]["rope_type"], "yarn") << "the model decides";
  GgufBuilder none = Metadata("llama");
  none.Text("llama.rope.scaling.type", "none");
  EXPECT_FALSE(Translate(Tensors(none))->config.contains("rope_scaling"));
}

// Divisors as llama.cpp's converter makes them from a configuration with factor 32 (Llama 3.2), theta 500000, heads
// of 64.
TEST_F(GgufToHf, Llama3FactorsBecomeTheirParameters) {
  std::vector<float> factors;
  for (int i = 0; i < 32; ++i) {
    const double wavelength = 2 * std::numbers::pi * std::pow(500000.0, 2.0 * i / 64);
    const double smooth = (8192 / wavelength - 1) / 3;
    const double between = 1 / ((1 - smooth) / 32 + smooth);
    factors.push_back(static_cast<float>(wavelength < 2048 ? 1 : wavelength > 8192 ? 32 : between));
  }
  GgufBuilder builder = Metadata("llama");
  builder.F32("llama.rope.freq_base", 500000);
  Tensors(builder).Floats("rope_freqs.weight", {32}, factors);
  const auto view = Translate(builder);
  ASSERT_TRUE(view.ok()) << view.error().message;
  const nlohmann::json want = {{"rope_type", "llama3"},
                               {"factor", 32.0},
                               {"low_freq_factor", 1.0},
                               {"high_freq_factor", 4.0},
                               {"original_max_position_embeddings", 8192}};
  EXPECT_EQ(view->config["rope_scaling"], want);
  EXPECT_EQ(view->tensors.size(), 4u) << "rope_freqs is no weight";

  for (const float wrong : {factors[20] * 1.01f, 0.0f, std::nanf(""), -1.0f}) {
    auto changed = factors;
    changed[20] = wrong;
    GgufBuilder other = Metadata("llama");
    other.F32("llama.rope.freq_base", 500000);
    Tensors(other).Floats("rope_freqs.weight", {32}, changed);
    ExpectError(other, ErrorCode::kUnsupported, "rope_freqs.weight");
  }
  GgufBuilder ones = Metadata("llama");
  Tensors(ones).Floats("rope_freqs.weight", {2}, {1, 1});
  EXPECT_FALSE(Translate(ones)->config.contains("rope_scaling"));
}

// llama.cpp multiplies the positions by 1 / factor and divides the frequencies too; one of the two alone is other
// numbers.
TEST_F(GgufToHf, FactorsAndScalingTogetherAreRefused) {
  const auto make = [](const char* type, float factor) {
    GgufBuilder builder = Metadata("llama");
    builder.Text("llama.rope.scaling.type", type).F32("llama.rope.scaling.factor", factor);
    builder.F32("llama.rope.freq_base", 1e8f);
    return Tensors(builder).Floats("rope_freqs.weight", {2}, {1, 8});
  };
  ExpectError(make("linear", 4), ErrorCode::kUnsupported, "rope.scaling.type \"linear\"");
  const auto none = Translate(make("linear", 1));
  ASSERT_TRUE(none.ok()) << none.error().message;
  EXPECT_EQ(none->config["rope_scaling"]["rope_type"], "llama3");
}

TEST_F(GgufToHf, WhichBiasesThereAre) {
  const auto biases = [&](const std::string& arch, const std::vector<std::string>& names) {
    GgufBuilder builder = Metadata(arch);
    Tensors(builder);
    for (const std::string& name : names) {
      const std::size_t rows = name == "attn_k" || name == "attn_v" ? 4 : name.starts_with("ffn_") ? 12 : 8;
      builder.Floats("blk.0." + name + ".bias", {rows}, Ramp(rows));
    }
    const auto view = Translate(builder);
    EXPECT_TRUE(view.ok()) << view.error().message;
    nlohmann::json config = view->config;
    return nlohmann::json{config["attention_bias"], config["mlp_bias"],
                          config.value(kBiasesKey, nlohmann::json("all or none"))};
  };
  using nlohmann::json;
  const std::string layer = "model.layers.0.";
  EXPECT_EQ(biases("llama", {}), (json{false, false, "all or none"}));
  EXPECT_EQ(biases("llama", {"attn_q", "attn_k", "attn_v", "attn_output"}), (json{true, false, "all or none"}));
  EXPECT_EQ(biases("llama", {"attn_v"}), (json{true, false, json::array({layer + "self_attn.v_proj"})}));
  EXPECT_EQ(biases("llama", {"ffn_up", "attn_output"}),
            (json{true, true, json::array({layer + "mlp.up_proj", layer + "self_attn.o_proj"})}));
  EXPECT_EQ(biases("qwen2", {"attn_q", "attn_k", "attn_v"}), (json{true, false, "all or none"}));
  GgufBuilder output = Metadata("qwen2");
  Tensors(output).Floats("blk.0.attn_output.bias", {8}, Ramp(8));
  ExpectError(output, ErrorCode::kUnsupported, "tensor blk.0.attn_output.bias");
}

TEST_F(GgufToHf, HeadSizes) {
  GgufBuilder explicit_size = Metadata("llama");
  explicit_size.U32("llama.attention.key_length", 4).U32("llama.attention.value_length", 4);
  EXPECT_EQ(Translate(Tensors(explicit_size))->config["head_dim"], 4);
  GgufBuilder values = Metadata("llama");
  values.U32("llama.attention.value_length", 6);
  ExpectError(Tensors(values), ErrorCode::kUnsupported, "dimensions per head");
  GgufBuilder partial = Metadata("llama");
  partial.U32("llama.rope.dimension_count", 2);
  EXPECT_EQ(Translate(Tensors(partial))->config["partial_rotary_factor"], 0.5) << "the model decides";
}

TEST_F(GgufToHf, RefusesWhatItWouldComputeWrongly) {
  ExpectError(Metadata("mamba"), ErrorCode::kUnsupported,
              "architecture \"mamba\" is not supported. Supported are llama, qwen2, qwen3");
  ExpectError(GgufBuilder(), ErrorCode::kInput, "general.architecture");
  GgufBuilder experts = Metadata("llama");
  experts.U32("llama.expert_count", 8);
  ExpectError(Tensors(experts), ErrorCode::kUnsupported, "llama.expert_count");
  GgufBuilder layers = Metadata("llama");
  layers.Array("llama.attention.key_length", GgufType::kU32, 1, Raw(4));
  ExpectError(Tensors(layers), ErrorCode::kUnsupported, "layer to layer");
  GgufBuilder unknown = Metadata("llama");
  Tensors(unknown).Floats("blk.0.attn_q_norm.weight", {8}, Ramp(8));
  ExpectError(unknown, ErrorCode::kUnsupported, "tensor blk.0.attn_q_norm.weight");
  GgufBuilder scales = Metadata("llama");
  Tensors(scales).Floats("blk.0.attn_q.scale", {8}, Ramp(8));
  ExpectError(scales, ErrorCode::kUnsupported, "tensor blk.0.attn_q.scale");
}

TEST_F(GgufToHf, RefusesContradictions) {
  GgufBuilder beyond = Metadata("llama");
  Tensors(beyond).Floats("blk.1.attn_norm.weight", {8}, Ramp(8));
  ExpectError(beyond, ErrorCode::kInput, "belongs to block 1 of 1");
  ExpectError(Metadata("llama"), ErrorCode::kInput, "token_embd.weight");
  GgufBuilder odd = Metadata("llama");
  Tensors(odd).Floats("blk.0.attn_q.bias", {6}, Ramp(6));
  ExpectError(odd, ErrorCode::kInput, "not 2 heads of an even size");
  GgufBuilder missing;
  missing.Text("general.architecture", "llama").U32("llama.embedding_length", 8);
  ExpectError(missing, ErrorCode::kInput, "llama.feed_forward_length\" is missing");
  GgufBuilder nan = Metadata("llama");
  nan.F32("llama.rope.freq_base", std::nanf(""));
  ExpectError(Tensors(nan), ErrorCode::kInput, "llama.rope.freq_base");
  for (const std::uint32_t heads : {0u, 3u}) {
    GgufBuilder builder;
    builder.Text("general.architecture", "qwen2").U32("qwen2.embedding_length", 8).U32("qwen2.feed_forward_length", 12);
    builder.U32("qwen2.block_count", 1).U32("qwen2.attention.head_count", heads).U32("qwen2.context_length", 64);
    builder.F32("qwen2.attention.layer_norm_rms_epsilon", 1e-5f);
    ExpectError(Tensors(builder), ErrorCode::kInput, "head");
  }
}

// What llama.cpp multiplies the usual magnitude of YaRN by.
TEST_F(GgufToHf, YarnMagnitudeAsAFactor) {
  GgufBuilder builder = Metadata("llama");
  builder.Text("llama.rope.scaling.type", "yarn").F32("llama.rope.scaling.factor", 4);
  builder.U32("llama.rope.scaling.original_context_length", 16).F32("llama.rope.scaling.attn_factor", 2);
  const auto view = Translate(Tensors(builder));
  ASSERT_TRUE(view.ok()) << view.error().message;
  EXPECT_NEAR(view->config["rope_scaling"]["attention_factor"].get<double>(), 2 * (0.1 * std::log(4.0) + 1), 1e-6);
}

TEST_F(GgufToHf, ChatGlmWithoutItsHeadsIsRefused) {
  GgufBuilder builder = Metadata("chatglm");
  ExpectError(Tensors(builder), ErrorCode::kUnsupported, "llama.cpp's converter wrote this file and lost settings");
}

}  // namespace
}  // namespace marlin
