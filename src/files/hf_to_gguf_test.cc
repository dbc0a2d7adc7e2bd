// Names, rows and settings on their way to GGUF. Whole models of every family: model/export_gguf_test.cc.
#include "files/hf_to_gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>

#include "base/rng.h"
#include "files/ggml_blocks.h"
#include "files/gguf_names.h"
#include "files/gguf_rope.h"
#include "formats/formats.h"

namespace marlin {
namespace {
using nlohmann::json;

struct Held {
  std::vector<float> values;
  Tensor tensor;
};

class HfToGguf : public testing::Test {
 protected:
  void Add(const std::string& name, std::vector<std::size_t> shape) {
    std::size_t size = 1;
    for (const std::size_t axis : shape) size *= axis;
    Held held;
    held.values.resize(size);
    std::iota(held.values.begin(), held.values.end(), 0.0f);
    held.tensor.name = name;
    held.tensor.shape = std::move(shape);
    held_.push_back(std::move(held));
  }
  Result<GgufModel> Translate(std::optional<DType> type = {}) {
    tensors_.clear();
    for (Held& held : held_) {
      held.tensor.bytes = {reinterpret_cast<const std::uint8_t*>(held.values.data()), held.values.size() * 4};
      tensors_.push_back(held.tensor);
    }
    return TranslateToGguf({config_, facts_, tensors_, encoded_,
                            [](std::string_view name) {
                              const std::size_t part = name.find(".query");
                              return std::string(name.substr(0, part)) + (part == name.npos ? "" : ".weight");
                            }},
                           type);
  }
  static std::vector<float> Decoded(const GgufTensor& tensor) {
    std::vector<float> values(tensor.rows() * tensor.cols());
    EXPECT_TRUE(DecodeRows(tensor, 0, {values.data(), tensor.rows(), tensor.cols()}).ok());
    return values;
  }
  void ExpectError(ErrorCode code, const std::string& part) {
    const auto model = Translate();
    ASSERT_FALSE(model.ok()) << part;
    EXPECT_EQ(model.error().code, code);
    EXPECT_NE(model.error().message.find(part), std::string::npos) << model.error().message;
  }

  std::map<std::string, EncodedMatrixView> encoded_;  // none
  json config_ = {{"architectures", {"LlamaForCausalLM"}},
                  {"num_attention_heads", 2},
                  {"num_key_value_heads", 1},
                  {"hidden_size", 4},
                  {"rms_norm_eps", 1e-5},
                  {"head_dim", 4}};
  ModelFacts facts_{{{1, 4, 8, 0}}, 4, 10000, 0};
  std::vector<Held> held_;
  std::vector<Tensor> tensors_;
};

TEST_F(HfToGguf, HeadsAreInterleaved) {
  Add("model.layers.0.self_attn.q_proj.weight", {8, 1});
  Add("model.layers.0.self_attn.q_proj.bias", {8});
  Add("model.layers.0.self_attn.k_proj.weight", {4, 1});
  const auto model = Translate();
  ASSERT_TRUE(model.ok()) << model.error().message;
  ASSERT_EQ(model->tensors.size(), 3u);
  EXPECT_EQ(model->tensors[0].name, "blk.0.attn_q.weight");
  EXPECT_EQ(Decoded(model->tensors[0]), (std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7}));
  EXPECT_EQ(Decoded(model->tensors[1]), (std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7}));
  EXPECT_EQ(Decoded(model->tensors[2]), (std::vector<float>{0, 2, 1, 3}));
  EXPECT_EQ(model->tensors[1].dtype, DType::kF32);
}

TEST_F(HfToGguf, NormsOfGemmaAreMoved) {
  config_["architectures"] = {"Gemma3ForCausalLM"};
  Add("model.layers.0.input_layernorm.weight", {3});
  Add("model.embed_tokens.weight", {2, 2});
  const auto model = Translate(DType::kBF16);
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ(model->tensors[0].name, "blk.0.attn_norm.weight");
  EXPECT_EQ(model->tensors[0].dtype, DType::kF32) << "norms stay exact";
  EXPECT_EQ(Decoded(model->tensors[0]), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(model->tensors[1].dtype, DType::kBF16);
}

TEST_F(HfToGguf, SettingsOfTheTables) {
  config_["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 2}};
  const auto model = Translate();
  ASSERT_TRUE(model.ok()) << model.error().message;
  const auto view = model->pairs.View();
  EXPECT_EQ(std::get<std::int64_t>(view.at("llama.embedding_length")), 4);
  EXPECT_EQ(std::get<std::int64_t>(view.at("llama.attention.value_length")), 4);
  EXPECT_EQ(std::get<std::int64_t>(view.at("llama.rope.dimension_count")), 4);
  EXPECT_EQ(std::get<double>(view.at("llama.rope.freq_base")), 10000);
  EXPECT_EQ(std::get<std::string_view>(view.at("llama.rope.scaling.type")), "linear");
  EXPECT_EQ(std::get<double>(view.at("llama.rope.scaling.factor")), 2);
}

TEST_F(HfToGguf, Refusals) {
  Add("model.layers.0.self_attn.q_norm.weight", {3});
  ExpectError(ErrorCode::kUnsupported, "tensor model.layers.0.self_attn.q_norm.weight has no place");
  held_.clear();
  config_["sliding_window"] = 7;
  ExpectError(ErrorCode::kUnsupported, "no attention windows, and this model has one of 7 tokens");
  config_.erase("sliding_window");
  config_["rope_scaling"] = {{"rope_type", "dynamic"}};
  ExpectError(ErrorCode::kUnsupported, "type dynamic");
  config_["rope_scaling"] = {{"rope_type", "llama3"}, {"factor", 8}};
  config_["architectures"] = {"Qwen3ForCausalLM"};
  ExpectError(ErrorCode::kUnsupported, "architecture qwen3 has no vector");
  config_["architectures"] = {"DeepseekV3ForCausalLM"};
  ExpectError(ErrorCode::kUnsupported, "no architecture for DeepseekV3ForCausalLM");
}

TEST(GgufNamesForClasses, EveryFamilyIsFoundByItsClass) {
  for (const GgufFamily& family : GgufFamilies()) EXPECT_EQ(GgufFamilyOfClass(family.hf_class), &family);
  EXPECT_EQ(GgufFamilyOfClass("MistralForCausalLM")->architecture, "llama");
  EXPECT_EQ(GgufFamilyOfClass("Olmo3ForCausalLM")->architecture, "olmo2");
  EXPECT_EQ(GgufFamilyOfClass("Fish"), nullptr);
}

TEST(GgufRope, ScalingsAreFoundAgain) {
  constexpr double kTheta = 500000;
  for (const Llama3Scaling& scaling : {Llama3Scaling{8, 1, 4, 8192}, Llama3Scaling{32, 1, 4, 8192},
                                       Llama3Scaling{4, 2, 16, 2048}, Llama3Scaling{4, 1, 1.01, 32}}) {
    const std::vector<float> divisors = Llama3Divisors(scaling, kTheta, 32);
    const auto found = FitLlama3(divisors, kTheta);
    ASSERT_TRUE(found.has_value()) << scaling.factor << " " << scaling.context;
    const std::vector<float> again = Llama3Divisors(*found, kTheta, 32);
    for (std::size_t i = 0; i < again.size(); ++i) EXPECT_NEAR(again[i] / divisors[i], 1, 1e-4) << i;
    std::vector<float> changed = divisors;
    changed[20] *= 1.1f;
    EXPECT_FALSE(FitLlama3(changed, kTheta).has_value());
  }
  EXPECT_EQ(FitLlama3(std::vector<float>(8, 1.0f), kTheta)->factor, 1);
  EXPECT_FALSE(FitLlama3({}, kTheta).has_value());
}

// Rows of two parts, each with its own codes, in the order in which llama.cpp wants queries.
TEST_F(HfToGguf, RowsOfQuantizedPartsAreMovedWithTheirScales) {
  Rng rng(5);
  std::vector<float> weights(8 * 64);
  for (float& weight : weights) weight = static_cast<float>(rng.Normal());
  const FormatRow& format = *FindFormat("q4_0");
  const EncodedMatrix upper = Encode(format, {weights.data(), 4, 64});
  const EncodedMatrix lower = Encode(format, {weights.data() + 4 * 64, 4, 64});
  GgufTensor tensor;
  tensor.dtype = DType::kQ4_0;
  tensor.shape = {8, 64};
  tensor.rotary_heads = 2;
  for (const EncodedMatrix* part : {&upper, &lower}) {
    Tensor named;
    named.shape = {4, 64};
    tensor.parts.push_back(named);
    tensor.encoded.push_back(part->view());
  }
  EXPECT_EQ(RowBytes(tensor, 1), 36u);
  std::vector<std::uint8_t> blocks(RowBytes(tensor, 8), 0xee);
  EncodeRows(tensor, 0, 8, blocks);
  const std::vector<float> decoded = Decoded(tensor);
  std::vector<float> got(64, NAN), want(64, NAN);
  const std::size_t source[] = {0, 2, 1, 3, 4, 6, 5, 7};  // the halves of a head of 4 rows are interleaved
  for (std::size_t row = 0; row < 8; ++row) {
    DecodeBlocks(DType::kQ4_0, std::span(blocks).subspan(row * 36, 36), got);
    DecodeRow(source[row] < 4 ? upper.view() : lower.view(), source[row] % 4, want);
    EXPECT_EQ(got, want) << row;
    EXPECT_EQ(std::vector<float>(decoded.begin() + static_cast<std::ptrdiff_t>(row * 64),
                                 decoded.begin() + static_cast<std::ptrdiff_t>(row * 64 + 64)),
              want);
  }
}

TEST_F(HfToGguf, FormatsWithoutABlockTypeAreNamed) {
  const EncodedMatrix matrix(*FindFormat("fp4-g32"), 4, 64);
  Add("model.layers.0.mlp.up_proj.weight", {4, 64});
  encoded_.emplace("model.layers.0.mlp.up_proj.weight", matrix.view());
  ExpectError(ErrorCode::kUnsupported, "is fp4-g32, which no type of GGUF holds without loss");
  EXPECT_TRUE(Translate(DType::kF16).ok());
}

}  // namespace
}  // namespace marlin
