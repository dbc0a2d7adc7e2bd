// Everything in a model's files is used, left out because it is known to be harmless, or an error that names it.
#include "model/open_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/half.h"
#include "base/rng.h"
#include "files/safetensors_writer.h"
#include "files/test_files.h"
#include "kernels/test_device.h"
#include "model/model.h"
#include "model/model_tensors.h"
#include "model/split_tensors.h"
#include "model/test_description.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

struct Stored {
  PlannedTensor plan;
  std::vector<std::uint8_t> bytes;
};

Stored Bf16(const std::string& name, const std::vector<std::size_t>& shape, const std::vector<float>& values) {
  Stored stored{{name, DType::kBF16, shape}, {}};
  for (const float value : values) {
    const std::uint16_t bits = FloatToBf16(value);
    stored.bytes.push_back(static_cast<std::uint8_t>(bits));
    stored.bytes.push_back(static_cast<std::uint8_t>(bits >> 8));
  }
  return stored;
}

// The tiny Llama of the tests, without scaling of its rotary frequencies, to be changed and written again.
class OpenModels : public TemporaryFolder {
 protected:
  void SetUp() override {
    TemporaryFolder::SetUp();
    const auto source = OpenCheckpoint(fs::path(MARLIN_SOURCE_DIR) / "src/model/testdata/tiny-llama");
    ASSERT_TRUE(source.ok());
    config_ = source->config;
    config_.erase("rope_parameters");
    for (const Tensor& tensor : source->tensors) {
      tensors_.push_back({{tensor.name, tensor.dtype, tensor.shape}, {tensor.bytes.begin(), tensor.bytes.end()}});
      std::vector<float>& values = values_[tensor.name];
      values.resize(tensor.elements());
      ASSERT_TRUE(DecodeRows(tensor, 0, {values.data(), tensor.rows(), tensor.cols()}).ok());
    }
  }

  fs::path WriteFolder(const std::string& name = "model") const {
    const fs::path folder = folder_ / name;
    fs::create_directories(folder);
    std::vector<PlannedTensor> plan;
    for (const Stored& stored : tensors_) plan.push_back(stored.plan);
    auto writer = SafetensorsWriter::Create(folder, plan);
    EXPECT_TRUE(writer.ok());
    for (const Stored& stored : tensors_) EXPECT_TRUE(writer->Write(stored.plan.name, stored.bytes).ok());
    EXPECT_TRUE(writer->Commit().ok());
    EXPECT_TRUE(WriteFileAtomic(folder / "config.json", config_.dump()).ok());
    return folder;
  }

  void Remove(const std::string& name) {
    std::erase_if(tensors_, [&](const Stored& stored) { return stored.plan.name == name; });
  }

  Stored Find(const std::string& name) const {
    return *std::ranges::find_if(tensors_, [&](const Stored& stored) { return stored.plan.name == name; });
  }

  static void ExpectError(const Result<OpenedModel>& opened, ErrorCode code, const std::string& part) {
    ASSERT_FALSE(opened.ok()) << part;
    EXPECT_EQ(opened.error().code, code) << opened.error().message;
    EXPECT_NE(opened.error().message.find(part), std::string::npos) << opened.error().message;
  }

  // Biases of linear layers as a GGUF file may have them, each by itself; the values are exact in BF16.
  using Biases = std::map<std::string, std::vector<float>>;

  // Places are a block and one of its matrices.
  Biases RandomBiases(const std::vector<std::pair<std::size_t, std::size_t>>& places) const {
    const Description d = *DescribeModel(config_);
    Biases biases;
    Rng rng(7);
    for (const auto& [block, m] : places) {
      const Matrix& matrix = d.blocks[block].matrices[m];
      std::vector<float>& values = biases[matrix.name];
      values.resize(matrix.rows);
      for (float& value : values) value = Bf16ToFloat(FloatToBf16(static_cast<float>(0.3 * rng.Normal())));
    }
    return biases;
  }

  // Rows of a rotary projection as GGUF stores them.
  static std::vector<float> Interleaved(const std::vector<float>& values, std::size_t rows, std::size_t heads) {
    const std::size_t cols = values.size() / rows;
    Tensor order{"", DType::kF32, {rows, 1}, {}, {}};
    order.stored.rotary_heads = heads;
    std::vector<float> out(values.size());
    for (std::size_t row = 0; row < rows; ++row) {
      const auto from = values.begin() + static_cast<std::ptrdiff_t>(row * cols);
      std::copy_n(from, cols, out.begin() + static_cast<std::ptrdiff_t>(order.StoredRow(row) * cols));
    }
    return out;
  }

  // The model in one GGUF file, with `biases` and whatever `more` adds.
  fs::path WriteGguf(const Biases& biases, const std::function<void(GgufBuilder&)>& more = {}) const {
    const Description d = *DescribeModel(config_);
    GgufBuilder builder;
    builder.Text("general.architecture", "llama").U32("llama.context_length", 64).U32("llama.embedding_length", 32);
    builder.U32("llama.block_count", 2).U32("llama.feed_forward_length", 88).U32("llama.attention.head_count", 4);
    builder.U32("llama.attention.head_count_kv", 2).F32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    constexpr const char* kNames[] = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
    builder.Floats("token_embd.weight", {32, 96}, values_.at("model.embed_tokens.weight"));
    builder.Floats("output.weight", {32, 96}, values_.at("lm_head.weight"));
    builder.Floats("output_norm.weight", {32}, values_.at("model.norm.weight"));
    for (std::size_t layer = 0; layer < 2; ++layer) {
      const std::string block = "blk." + std::to_string(layer) + ".";
      builder.Floats(block + "attn_norm.weight", {32},
                     values_.at("model.layers." + std::to_string(layer) + ".input_layernorm.weight"));
      builder.Floats(block + "ffn_norm.weight", {32},
                     values_.at("model.layers." + std::to_string(layer) + ".post_attention_layernorm.weight"));
      const std::vector<Matrix>& matrices = d.blocks[layer].matrices;
      for (std::size_t m = 0; m < matrices.size(); ++m) {
        const std::size_t rows = matrices[m].rows;
        const auto stored = [&](const std::vector<float>& values) {
          const bool rotary = m == kQMatrix || m == kKMatrix;
          return rotary ? Interleaved(values, rows, m == kQMatrix ? 4 : 2) : values;
        };
        builder.Floats(block + kNames[m] + ".weight", {matrices[m].cols, rows},
                       stored(values_.at(matrices[m].name + ".weight")));
        const auto bias = biases.find(matrices[m].name);
        if (bias != biases.end()) builder.Floats(block + kNames[m] + ".bias", {rows}, stored(bias->second));
      }
    }
    if (more) more(builder);
    return Write("model.gguf", builder.Bytes());
  }

  static std::vector<float> Logits(const OpenedModel& opened) {
    const auto backend = TestReference();
    const auto model = LoadModel(opened.checkpoint, *backend);
    EXPECT_TRUE(model.ok()) << model.error().message;
    const std::vector<std::int32_t> tokens = {1, 5, 9, 2, 77, 30, 31, 4};
    auto session = Session::Create(*model, tokens.size(), tokens.size());
    auto buffer = std::move(*backend->Allocate(tokens.size() * model->description.vocab_size));
    const DeviceTensor logits = View(buffer, tokens.size(), model->description.vocab_size);
    model->Logits(session->Forward(tokens), logits);
    return Values(*backend, logits);
  }

  json config_;
  std::vector<Stored> tensors_;
  std::map<std::string, std::vector<float>> values_;
};

// The reference is the same model with all biases, where those that the GGUF lacks are zero.
TEST_F(OpenModels, EveryBiasOfAGgufIsAdded) {
  const std::vector<std::vector<std::pair<std::size_t, std::size_t>>> cases = {
      {},
      {{0, kVMatrix}, {1, kVMatrix}},
      {{0, kOMatrix}, {1, kOMatrix}},
      {{0, kQMatrix}, {0, kKMatrix}, {0, kVMatrix}, {1, kQMatrix}, {1, kKMatrix}, {1, kVMatrix}},
      {{1, kGateMatrix}},
      {{0, kQMatrix}, {1, kDownMatrix}, {1, kUpMatrix}},
      {{0, kQMatrix},
       {0, kKMatrix},
       {0, kVMatrix},
       {0, kOMatrix},
       {1, kQMatrix},
       {1, kKMatrix},
       {1, kVMatrix},
       {1, kOMatrix}}};
  const std::vector<Stored> plain = tensors_;
  for (const auto& places : cases) {
    const Biases biases = RandomBiases(places);
    const auto opened = OpenModel(WriteGguf(biases));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    std::size_t biased = 0;
    for (const Block& block : opened->description.blocks) {
      biased += static_cast<std::size_t>(
          std::ranges::count_if(block.matrices, [](const Matrix& matrix) { return matrix.bias.has_value(); }));
    }
    EXPECT_EQ(biased, places.size());

    tensors_ = plain;
    config_["attention_bias"] = true;
    config_["mlp_bias"] = true;
    for (const Block& block : opened->description.blocks) {
      for (const Matrix& matrix : block.matrices) {
        const auto bias = biases.find(matrix.name);
        const std::vector<float> zero(matrix.rows);
        tensors_.push_back(Bf16(matrix.name + ".bias", {matrix.rows}, bias != biases.end() ? bias->second : zero));
      }
    }
    const auto reference = OpenModel(WriteFolder());
    ASSERT_TRUE(reference.ok()) << reference.error().message;
    EXPECT_EQ(Logits(*opened), Logits(*reference)) << places.size() << " biases";
  }
}

TEST_F(OpenModels, AGgufWhoseOutputRepeatsTheEmbeddingIsTied) {
  const auto apart = OpenModel(WriteGguf({}));
  ASSERT_TRUE(apart.ok()) << apart.error().message;
  EXPECT_FALSE(apart->description.tied_head());
  values_["lm_head.weight"] = values_.at("model.embed_tokens.weight");
  const auto tied = OpenModel(WriteGguf({}));
  ASSERT_TRUE(tied.ok()) << tied.error().message;
  EXPECT_TRUE(tied->description.tied_head());
  EXPECT_EQ(tied->checkpoint.left_out, std::vector<std::string>{"output.weight"});
  EXPECT_EQ(CountParameters(tied->description), CountParameters(apart->description) - 32 * 96);
}

TEST_F(OpenModels, GgufTensorsWithoutAPlaceAreNamed) {
  const std::vector<std::pair<std::string, std::size_t>> extra = {{"output.bias", 96},
                                                                  {"output_norm.bias", 32},
                                                                  {"token_embd.bias", 32},
                                                                  {"blk.0.attn_norm.bias", 32},
                                                                  {"blk.1.attn_q_norm.weight", 8}};
  for (const auto& [name, size] : extra) {
    const fs::path file = WriteGguf({}, [&, name = name, size = size](GgufBuilder& builder) {
      builder.Floats(name, {size}, std::vector<float>(size, 1.0f));
    });
    ExpectError(OpenModel(file), ErrorCode::kUnsupported, "tensor " + name + " has no place");
    ExpectError(OpenModel(file), ErrorCode::kUnsupported, "--accept-unknown " + name);
    const auto opened = OpenModel(file, AcceptedNames({name}));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    EXPECT_EQ(opened->checkpoint.accepted.found(), std::vector<std::string>{name});
    EXPECT_EQ(opened->checkpoint.left_out, std::vector<std::string>{name});
  }
  const fs::path frequencies = WriteGguf({}, [](GgufBuilder& builder) {
    builder.Floats("blk.0.attn_rot_embd.weight", {4}, {1, 0.1f, 0.01f, 0.001f});
  });
  EXPECT_TRUE(OpenModel(frequencies).ok()) << "what the settings say again";
}

// Both spellings of published multimodal checkpoints: the text model inside gives the logits of the text model alone.
TEST_F(OpenModels, TheTextModelOfAMultimodalCheckpoint) {
  const auto alone = OpenModel(WriteFolder("alone"));
  ASSERT_TRUE(alone.ok()) << alone.error().message;
  const json text = config_;
  config_ = {{"architectures", {"SomeForConditionalGeneration"}},
             {"model_type", "some"},
             {"text_config", text},
             {"vision_config", {{"hidden_size", 7}}},
             {"eos_token_id", {7, 9}}};
  config_["text_config"].erase("architectures");
  config_["text_config"].erase("eos_token_id");
  const std::vector<Stored> plain = tensors_;
  for (const auto& [model, head] : {std::pair{"model.language_model.", "lm_head."},
                                    std::pair{"language_model.model.", "language_model.lm_head."}}) {
    tensors_ = plain;
    for (Stored& stored : tensors_) {
      std::string& name = stored.plan.name;
      const bool is_head = name.starts_with("lm_head.");
      name = is_head ? head + name.substr(8) : model + name.substr(6);
    }
    tensors_.push_back(Bf16("model.vision_tower.patches.weight", {2, 2}, {1, 2, 3, 4}));
    const auto inside = OpenModel(WriteFolder(std::string("inside ") + model));
    ASSERT_TRUE(inside.ok()) << inside.error().message;
    EXPECT_EQ(Logits(*inside), Logits(*alone));
    EXPECT_EQ(inside->checkpoint.left_out, std::vector<std::string>{"model.vision_tower.patches.weight"});
    EXPECT_EQ(inside->checkpoint.config["eos_token_id"], json({7, 9})) << "of the whole";
    EXPECT_EQ(inside->checkpoint.config["architectures"], json({"LlamaForCausalLM"}));
    const std::vector<Stored> all = tensors_;
    for (const std::string& name :
         {model + std::string("norm.weight"), model + std::string("layers.1.mlp.up_proj.weight"),
          model + std::string("embed_tokens.weight"), head + std::string("weight")}) {
      tensors_ = all;
      Remove(name);
      ExpectError(OpenModel(WriteFolder()), ErrorCode::kInput, ": tensor " + name + " is missing");
    }
    tensors_ = all;
    tensors_.push_back(Bf16(model + std::string("layers.0.odd.weight"), {2}, {1, 2}));
    ExpectError(OpenModel(WriteFolder()), ErrorCode::kUnsupported,
                ": tensor " + std::string(model) + "layers.0.odd.weight (BF16 [2]) has no place");
    EXPECT_TRUE(OpenModel(WriteFolder(), AcceptedNames({model + std::string("layers.0.odd.weight")})).ok());
  }
  config_["text_config"]["model_type"] = "mamba";
  ExpectError(OpenModel(WriteFolder("mamba")), ErrorCode::kUnsupported, "a model of type \"mamba\"");
  config_["text_config"] = 3;
  ExpectError(OpenModel(WriteFolder("number")), ErrorCode::kInput, "\"text_config\" is not an object");
}

// Hugging Face transformers takes the head of the files where the two differ.
TEST_F(OpenModels, AHeadOfItsOwnCountsWhereTheConfigurationIsSilent) {
  const auto want = OpenModel(WriteFolder("own head"));
  config_.erase("tie_word_embeddings");
  const auto silent = OpenModel(WriteFolder("silent"));
  ASSERT_TRUE(silent.ok()) << silent.error().message;
  EXPECT_FALSE(silent->description.tied_head());
  EXPECT_EQ(Logits(*silent), Logits(*want));
}

// As the published GPT-2: no first part of the names, and masks.
TEST_F(OpenModels, FilesOfTheModelWithoutItsHead) {
  const auto want = OpenModel(WriteFolder("whole"));
  ASSERT_TRUE(want.ok());
  for (Stored& stored : tensors_) {
    if (stored.plan.name.starts_with("model.")) stored.plan.name = stored.plan.name.substr(6);
  }
  tensors_.push_back(Bf16("layers.0.attn.bias", {1, 1, 3, 3}, std::vector<float>(9, 1)));
  const auto opened = OpenModel(WriteFolder("base"));
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ(Logits(*opened), Logits(*want));
  EXPECT_EQ(opened->checkpoint.left_out, std::vector<std::string>{"layers.0.attn.bias"});
  Remove("norm.weight");
  ExpectError(OpenModel(WriteFolder("cut")), ErrorCode::kInput, ": tensor norm.weight is missing");
}

// Published files of Gemma 4 hold keys and values of blocks that read those of others.
TEST(SharedKeys, OwnKeysOfABlockThatReadsOthersAreLeftOut) {
  const auto opened = OpenModel(fs::path(MARLIN_SOURCE_DIR) / "src/model/testdata/tiny-gemma4-e");
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  Checkpoint checkpoint = *OpenCheckpoint(opened->checkpoint.path);
  std::vector<Tensor> tensors = checkpoint.tensors;
  for (const std::size_t block : {5, 4}) {
    Tensor unused = *checkpoint.Find("model.layers.3.self_attn.k_proj.weight");
    unused.name = "model.layers." + std::to_string(block) + ".self_attn.k_proj.weight";
    tensors.push_back(unused);
  }
  checkpoint.Replace(tensors);
  const auto status = CheckTensors(checkpoint, opened->description);
  EXPECT_TRUE(status.ok()) << status.error().message;
  EXPECT_EQ(checkpoint.left_out.size(), 2u);
}

// A tensor that holds several matrices has the shape of all of them.
TEST(SplitModels, PartsOfAnotherShapeAreNamed) {
  auto checkpoint = OpenCheckpoint(fs::path(MARLIN_SOURCE_DIR) / "src/model/testdata/tiny-phi3");
  ASSERT_TRUE(checkpoint.ok());
  const auto description = DescribeModel(checkpoint->config);
  ASSERT_TRUE(description.ok());
  const std::string name = "model.layers.1.self_attn.qkv_proj.weight";
  const std::vector<Tensor> all = checkpoint->tensors;
  std::vector<Tensor> cut = all;
  for (Tensor& tensor : cut) {
    if (tensor.name == name) tensor.shape[0] -= 2;
  }
  checkpoint->Replace(cut);
  const auto wrong = SplitTensors(*checkpoint, *description);
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.error().message.find("tensor " + name + " has shape [62, 32], the configuration wants [64, 32]"),
            std::string::npos)
      << wrong.error().message;
  checkpoint->Replace(all);
  checkpoint->LeaveOut([&](const Tensor& tensor) { return tensor.name == name; });
  const auto missing = SplitTensors(*checkpoint, *description);
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().message.find("tensor " + name + " is missing"), std::string::npos);
  checkpoint->Replace(all);
  ASSERT_TRUE(SplitTensors(*checkpoint, *description).ok());
  EXPECT_EQ(checkpoint->Find(name), nullptr);
  const Tensor* const keys = checkpoint->Find("model.layers.1.self_attn.qkv_proj.key.weight");
  ASSERT_NE(keys, nullptr);
  EXPECT_EQ(keys->shape, (std::vector<std::size_t>{16, 32}));
  EXPECT_EQ(keys->byte_size(), 16u * 32 * 2);
  EXPECT_EQ(keys->StoredRow(0), 32u) << "behind the queries";
}

TEST_F(OpenModels, UnusedTensorsAreLeftOutOrNamed) {
  const std::size_t plain = tensors_.size();
  const std::vector<Stored> harmless = {
      {{"model.position_ids", DType::kI64, {1, 4}}, std::vector<std::uint8_t>(32)},
      {{"model.layers.0.self_attn.causal", DType::kBool, {1, 1, 8, 8}}, std::vector<std::uint8_t>(64)},
      {{"model.layers.1.self_attn.bias", DType::kU8, {1, 1, 8, 8}}, std::vector<std::uint8_t>(64)},
      {{"model.layers.1.self_attn.rotary_emb.inv_freq", DType::kF32, {4}}, std::vector<std::uint8_t>(16)},
      {{"model.rotary_emb.inv_freq", DType::kF32, {4}}, std::vector<std::uint8_t>(16)}};
  tensors_.insert(tensors_.end(), harmless.begin(), harmless.end());
  const auto opened = OpenModel(WriteFolder());
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ(opened->checkpoint.tensors.size(), plain);
  EXPECT_EQ(opened->checkpoint.left_out.size(), harmless.size());
  EXPECT_EQ(opened->checkpoint.Find("model.position_ids"), nullptr);
  EXPECT_NE(opened->checkpoint.Find("model.norm.weight"), nullptr);

  const std::vector<Stored> unknown = {
      Bf16("model.layers.0.self_attn.q_norm.weight", {8}, std::vector<float>(8, 1)),
      Bf16("model.layers.0.self_attn.v_proj.bias", {16}, std::vector<float>(16, 1)),
      Bf16("model.layers.0.self_attn.bias", {4}, std::vector<float>(4, 1)),  // numbers: no mask
      Bf16("model.layers.2.input_layernorm.weight", {32}, std::vector<float>(32, 1)),
      Bf16("model.layers.0.self_attn.q_proj.lora_A.weight", {4, 32}, std::vector<float>(128, 1)),
      Bf16("score.weight", {2, 32}, std::vector<float>(64, 1))};
  for (const Stored& stored : unknown) {
    tensors_.push_back(stored);
    const std::string& name = stored.plan.name;
    ExpectError(OpenModel(WriteFolder()), ErrorCode::kUnsupported, "tensor " + name + " (BF16 [");
    ExpectError(OpenModel(WriteFolder()), ErrorCode::kUnsupported, "--accept-unknown " + name);
    const auto accepted = OpenModel(WriteFolder(), AcceptedNames({name}));
    ASSERT_TRUE(accepted.ok()) << accepted.error().message;
    EXPECT_EQ(accepted->checkpoint.accepted.found(), std::vector<std::string>{name});
    EXPECT_EQ(accepted->checkpoint.Find(name), nullptr);
    tensors_.pop_back();
  }
}

TEST_F(OpenModels, AHeadBesideATiedEmbeddingIsACopyOrAnError) {
  config_["tie_word_embeddings"] = true;
  ExpectError(OpenModel(WriteFolder()), ErrorCode::kUnsupported,
              "lm_head.weight differs from model.embed_tokens.weight");
  EXPECT_TRUE(OpenModel(WriteFolder(), AcceptedNames({"lm_head.weight"})).ok());
  Remove("lm_head.weight");
  const auto without = OpenModel(WriteFolder("without"));
  ASSERT_TRUE(without.ok()) << without.error().message;
  for (const bool wider : {false, true}) {
    Stored copy = Find("model.embed_tokens.weight");
    copy.plan.name = "lm_head.weight";
    if (wider) {
      const std::vector<float>& values = values_.at("model.embed_tokens.weight");
      copy.plan.dtype = DType::kF32;
      copy.bytes.resize(values.size() * sizeof(float));
      std::memcpy(copy.bytes.data(), values.data(), copy.bytes.size());
    }
    tensors_.push_back(copy);
    const auto opened = OpenModel(WriteFolder());
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    EXPECT_EQ(opened->checkpoint.left_out, std::vector<std::string>{"lm_head.weight"});
    EXPECT_EQ(opened->checkpoint.tensors.size(), without->checkpoint.tensors.size());
    EXPECT_TRUE(opened->checkpoint.accepted.found().empty());
    tensors_.pop_back();
  }
}

TEST_F(OpenModels, AModelThatCannotRunIsRefusedBeforeAnyWork) {
  const std::vector<Stored> whole = tensors_;
  for (const char* name : {"lm_head.weight", "model.embed_tokens.weight", "model.norm.weight",
                           "model.layers.1.input_layernorm.weight", "model.layers.1.mlp.down_proj.weight"}) {
    tensors_ = whole;
    Remove(name);
    ExpectError(OpenModel(WriteFolder()), ErrorCode::kInput, "tensor " + std::string(name) + " is missing");
  }
  tensors_ = whole;
  config_["attention_bias"] = true;
  ExpectError(OpenModel(WriteFolder()), ErrorCode::kInput, "tensor model.layers.0.self_attn.q_proj.bias is missing");
  config_["attention_bias"] = false;
  config_["num_hidden_layers"] = (std::uint64_t{1} << 31) - 1;
  ExpectError(OpenModel(WriteFolder()), ErrorCode::kInput, "\"num_hidden_layers\" is 2147483647");
  config_["num_hidden_layers"] = 9999;
  ExpectError(OpenModel(WriteFolder()), ErrorCode::kInput, "model.layers.2.input_layernorm.weight is missing");
  config_["num_hidden_layers"] = 2;
  config_["intermediate_size"] = 96;
  ExpectError(OpenModel(WriteFolder()), ErrorCode::kInput, "[88, 32], the configuration wants [96, 32]");
}

TEST_F(OpenModels, AnotherProgramsQuantizationIsNamed) {
  config_["quantization_config"] = nullptr;
  const auto none = OpenModel(WriteFolder());
  ASSERT_TRUE(none.ok()) << none.error().message;
  EXPECT_FALSE(none->checkpoint.config.contains("quantization_config")) << "null means none";
  for (const char* method : {"gptq", "awq", "bitsandbytes", "fp8", "mxfp4", "hqq"}) {
    config_["quantization_config"] = {{"quant_method", method}, {"bits", 4}};
    ExpectError(OpenModel(WriteFolder()), ErrorCode::kUnsupported,
                "quantized by " + std::string(method) + ", which this program does not read");
  }
  config_["quantization_config"] = {{"load_in_8bit", true}};
  ExpectError(OpenModel(WriteFolder()), ErrorCode::kUnsupported, "a method without a name");
  config_["quantization_config"] = "4 bits";
  ExpectError(OpenModel(WriteFolder()), ErrorCode::kInput, "want an object or null");
  const json packed = {{"quant_method", "compressed-tensors"}, {"format", "pack-quantized"}, {"ignore", {"lm_head"}}};
  for (const auto& [key, value] : std::vector<std::pair<std::string, json>>{
           {"kv_cache_scheme", {{"num_bits", 8}}}, {"transform_config", {{"R1", 1}}}, {"a_new_setting", 1}}) {
    config_["quantization_config"] = packed;
    config_["quantization_config"][key] = value;
    ExpectError(OpenModel(WriteFolder()), ErrorCode::kUnsupported, "quantization_config." + key);
  }
  config_["quantization_config"] = packed;
  config_["quantization_config"]["config_groups"] = {{"group_0", {{"input_activations", {{"num_bits", 8}}}}}};
  ExpectError(OpenModel(WriteFolder()), ErrorCode::kUnsupported, "quantizes activations");
  config_.erase("quantization_config");
  config_["quantization"] = {{"group_size", 64}, {"bits", 4}};
  ExpectError(OpenModel(WriteFolder()), ErrorCode::kUnsupported, "\"quantization\" is");
}

TEST_F(OpenModels, AnUnknownSettingIsNamed) {
  config_["attention_multiplier"] = 0.5;
  ExpectError(OpenModel(WriteFolder()), ErrorCode::kUnsupported, "config.json: \"attention_multiplier\" is 0.5");
  const auto opened = OpenModel(WriteFolder(), AcceptedNames({"attention_multiplier", "lm_head.bias"}));
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ(opened->checkpoint.accepted.found(), std::vector<std::string>{"attention_multiplier"});
  const fs::path gguf = WriteGguf({}, [](GgufBuilder& builder) { builder.F32("llama.logit_scale", 0.5f); });
  ExpectError(OpenModel(gguf), ErrorCode::kUnsupported, "\"llama.logit_scale\" is 0.5, want 0 or 1");
  EXPECT_TRUE(OpenModel(gguf, AcceptedNames({"llama.logit_scale"})).ok());
}

TEST_F(OpenModels, TheConfigurationIsJudgedBeforeTheWeights) {
  fs::remove(WriteFolder() / "model.safetensors");
  const fs::path folder = folder_ / "model";
  const auto refusal = [&] {
    EXPECT_TRUE(WriteFileAtomic(folder / "config.json", config_.dump()).ok());
    const auto opened = OpenModel(folder);
    EXPECT_FALSE(opened.ok());
    return opened.error();
  };
  // CheckConfig says what OpenModel says, whatever the configuration lacks.
  const auto expect_same = [&](const std::string& part) {
    const Error error = refusal();
    EXPECT_NE(error.message.find(part), std::string::npos) << error.message;
    const Status status = CheckConfig(config_.dump(), folder);
    ASSERT_FALSE(status.ok()) << part;
    EXPECT_EQ(status.error().code, error.code);
    EXPECT_EQ(status.error().message, error.message);
  };
  EXPECT_TRUE(CheckConfig(config_.dump(), folder).ok());
  EXPECT_NE(refusal().message.find("no weights"), std::string::npos) << "nothing is wrong with the configuration";
  const json good = config_;
  config_["rope_scaling"] = {{"rope_type", "spiral"}, {"factor", 2.0}};
  expect_same("spiral");
  config_ = good;
  config_["quantization_config"] = {{"quant_method", "gptq"}};
  expect_same("quantized by gptq");
  config_ = good;
  config_["architectures"] = {"MixtralForCausalLM"};
  expect_same("it needs experts");
  config_ = good;
  config_["text_config"] = {{"model_type", "fish"}};
  expect_same("a model of type \"fish\"");
  EXPECT_EQ(CheckConfig("{", folder).error().code, ErrorCode::kInput);
}

// A user may accept what nobody knows, and weights say whether the head is the embedding.
TEST_F(OpenModels, OnlyWhatNoWeightsAndNoOptionCanMendIsRefusedEarly) {
  config_["attention_multiplier"] = 0.5;
  config_["quantization_config"] = {{"quant_method", "compressed-tensors"}, {"a_new_setting", 1}};
  config_.erase("tie_word_embeddings");
  const Status status = CheckConfig(config_.dump(), "org/fish");
  EXPECT_TRUE(status.ok()) << status.error().message;
}

}  // namespace
}  // namespace marlin
