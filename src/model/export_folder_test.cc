// Quantized folders of the tiny checkpoints in the layouts of other programs, and back. Logits: tests/export_test.cc.
#include "model/export_folder.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "files/quantized_layout.h"
#include "files/test_files.h"
#include "formats/formats.h"
#include "model/mlx_config.h"
#include "model/weights.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

fs::path Tiny(const std::string& name) { return fs::path(MARLIN_SOURCE_DIR) / "src/model/testdata" / name; }

class ExportFolder : public TemporaryFolder {
 protected:
  // The model with its matrices rounded to `format`, where `wanted` says so and the group divides their rows; the
  // embedding only if `embedding`.
  OpenedModel Quantized(const std::string& name, const std::string& format, bool embedding = false,
                        const std::map<std::string, std::string>& others = {}) {
    const auto source = OpenModel(Tiny(name));
    EXPECT_TRUE(source.ok()) << source.error().message;
    QuantizedPlan plan;
    plan.config = source->checkpoint.config;
    std::map<std::string, EncodedMatrix> matrices;
    ThreadPool pool(1);
    const std::string& kept = source->description.matrices[source->description.embedding].name;
    for (const Tensor& tensor : source->checkpoint.tensors) {
      const bool is_weight = tensor.name.ends_with(kWeightSuffix) && tensor.shape.size() == 2;
      const std::string stem = is_weight ? tensor.name.substr(0, tensor.name.size() - kWeightSuffix.size()) : "";
      const auto other = others.find(stem);
      const FormatRow& row = *FindFormat(other == others.end() ? format : other->second);
      const bool fits = is_weight && tensor.cols() % static_cast<std::size_t>(row.info.group) == 0;
      if (fits && (embedding || stem != kept)) {
        std::vector<float> values(tensor.elements());
        const MatrixView<float> view(values.data(), tensor.rows(), tensor.cols());
        EXPECT_TRUE(DecodeRows(tensor, 0, view).ok());
        matrices[stem] = Encode(row, MatrixView<const float>(values.data(), tensor.rows(), tensor.cols()));
        plan.weights.push_back({stem, &row, DType::kF16, {tensor.rows(), tensor.cols()}});
      } else {
        matrices[tensor.name] = *EncodePlain(tensor, Precision::kSixteenBit, pool);
        const bool half = matrices[tensor.name].format->info.name == "fp16";
        plan.weights.push_back({tensor.name, nullptr, half ? DType::kF16 : DType::kBF16, tensor.shape});
      }
    }
    auto writer = QuantizedWriter::Create(folder_ / "quantized", true, plan);
    EXPECT_TRUE(writer.ok());
    for (const PlannedWeight& weight : plan.weights) {
      const EncodedMatrix& matrix = matrices[weight.name];
      EXPECT_TRUE((weight.format != nullptr ? writer->Write(weight.name, matrix.view())
                                            : writer->Write(weight.name, matrix.codes))
                      .ok());
    }
    EXPECT_TRUE(writer->Commit().ok());
    auto opened = OpenModel(folder_ / "quantized");
    EXPECT_TRUE(opened.ok()) << opened.error().message;
    return *std::move(opened);
  }

  static FolderExportOptions Options(FolderLayout layout, std::optional<DType> type = std::nullopt) {
    return {layout, type, "metal-marlin test"};
  }

  void ExpectSameAgain(const OpenedModel& source, const FolderExportOptions& options) const {
    const auto plan = PlanFolder(source, options);
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    const auto written = WriteFolder(*plan, folder_ / "out", true, {});
    ASSERT_TRUE(written.ok()) << written.error().message;
    const auto opened = OpenModel(folder_ / "out");
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    const auto compared = CompareFolders(source, *opened, {});
    ASSERT_TRUE(compared.ok()) << compared.error().message;
    EXPECT_EQ(compared->rounded, 0u);
    EXPECT_EQ(compared->weights, CountParameters(source.description));
  }

  void ExpectRefusal(const OpenedModel& source, const FolderExportOptions& options, const std::string& part) const {
    const auto plan = PlanFolder(source, options);
    ASSERT_FALSE(plan.ok());
    EXPECT_EQ(plan.error().code, ErrorCode::kUnsupported);
    EXPECT_NE(plan.error().message.find(part), std::string::npos) << plan.error().message;
  }
};

constexpr FolderLayout kPacked = FolderLayout::kCompressedTensors, kMlx = FolderLayout::kMlx;

TEST_F(ExportFolder, ReadsBackAsTheSameModel) {
  for (const char* name : {"tiny-llama", "tiny-qwen2", "tiny-gemma3", "tiny-gemma4", "tiny-olmo3", "tiny-glm4"}) {
    for (const char* format : {"q4_0", "q8_0", "mxfp4"}) {
      const OpenedModel source = Quantized(name, format);
      ExpectSameAgain(source, Options(kPacked));
      ExpectSameAgain(source, Options(kMlx, DType::kF32));
    }
  }
}

// "qkv_proj" is three matrices here and one there; those of GPT-NeoX lie head after head.
TEST_F(ExportFolder, WhatIsStoredAsOneBecomesOne) {
  for (const char* name : {"tiny-phi3", "tiny-glm4"}) {
    const OpenedModel source = Quantized(name, "q4_0");
    ExpectSameAgain(source, Options(kPacked));
    const auto written = OpenCheckpoint(folder_ / "out");
    ASSERT_TRUE(written.ok());
    EXPECT_NE(written->Find("model.layers.0.mlp.gate_up_proj.weight_packed"), nullptr);
    EXPECT_EQ(written->Find("model.layers.0.mlp.gate_up_proj.up.weight_packed"), nullptr);
    ExpectSameAgain(source, Options(kMlx, DType::kF32));
  }
  const OpenedModel mixed = Quantized("tiny-glm4", "q4_0", false, {{"model.layers.1.mlp.gate_up_proj.up", "q8_0"}});
  ExpectRefusal(mixed, Options(kPacked), "model.layers.1.mlp.gate_up_proj is stored as one matrix, and its parts have");
}

TEST_F(ExportFolder, APlanOfSeveralFormats) {
  const OpenedModel source = Quantized(
      "tiny-llama", "mxfp4", false, {{"model.layers.0.mlp.up_proj", "q8_0"}, {"model.layers.1.mlp.up_proj", "q4_0"}});
  ExpectSameAgain(source, Options(kPacked));
  const json packed = json::parse(Slurp(folder_ / "out" / "config.json"))["quantization_config"];
  EXPECT_EQ(packed["format"], "mixed-precision");
  EXPECT_EQ(packed["config_groups"].size(), 3u);
  EXPECT_EQ(packed["config_groups"]["group_2"]["targets"], json::array({"model.layers.0.mlp.up_proj"}));
  EXPECT_EQ(packed["metal_marlin"]["exported"]["program"], "metal-marlin test");
  ExpectSameAgain(source, Options(kMlx, DType::kF32));
  const json mlx = json::parse(Slurp(folder_ / "out" / "config.json"))["quantization"];
  EXPECT_EQ(mlx["mode"], "mxfp4");
  EXPECT_EQ(mlx["model.layers.0.mlp.up_proj"]["bits"], 8);
  EXPECT_EQ(mlx["model.layers.1.mlp.up_proj"]["mode"], "affine");
}

TEST_F(ExportFolder, TheEmbeddingStandsInMlxOnly) {
  const OpenedModel source = Quantized("tiny-qwen2", "mxfp4", true);
  ExpectRefusal(source, Options(kPacked), "model.embed_tokens is the embedding");
  ExpectSameAgain(source, Options(kMlx));
}

TEST_F(ExportFolder, WhatAContainerDoesNotHoldIsNamed) {
  ExpectRefusal(*OpenModel(Tiny("tiny-llama")), Options(kMlx), "is not a folder made by quantize");
  const OpenedModel fp4 = Quantized("tiny-llama", "fp4-g32");
  ExpectRefusal(fp4, Options(kPacked), "is fp4-g32, which compressed-tensors does not hold without loss (no other");
  ExpectRefusal(fp4, Options(kMlx), "which MLX does not hold without loss");
  OpenedModel rotated = Quantized("tiny-llama", "mxfp4");
  json& rotation = rotated.checkpoint.config["quantization_config"]["metal_marlin"]["rotation"];
  rotation = {{"seed", 1}, {"heads", true}, {"residual", true}};
  EXPECT_TRUE(PlanFolder(rotated, Options(kPacked)).ok()) << "such a rotation is in the weights";
  rotation["online"] = {"down_proj"};
  ExpectRefusal(rotated, Options(kPacked), "it is rotated while it runs (\"online\"), which compressed-tensors cannot");
}

// Scales of random weights have 11 bits, and the model is BF16.
TEST_F(ExportFolder, WhatATypeDoesNotHoldIsRefused) {
  const OpenedModel source = Quantized("tiny-llama", "q8_0");
  ExpectRefusal(source, Options(kMlx), "not lossless: ");
  ExpectRefusal(source, Options(kMlx), " is q8_0, and BF16 does not hold the scale, or zero point x scale, of ");
  ExpectRefusal(source, Options(kMlx), "--type f16 or --type f32 holds them all");
  ExpectSameAgain(source, Options(kMlx, DType::kF32));
  const auto rounded = PlanFolder(source, Options(kMlx, DType::kF16));
  EXPECT_TRUE(rounded.ok()) << "the plain tensors are rounded to it, as the user said";
}

TEST_F(ExportFolder, ADifferenceIsNamed) {
  const OpenedModel source = Quantized("tiny-llama", "q4_0");
  const auto plan = PlanFolder(source, Options(kPacked));
  ASSERT_TRUE(plan.ok());
  ASSERT_TRUE(WriteFolder(*plan, folder_ / "out", true, {}).ok());
  const std::string name = "model.layers.0.self_attn.q_proj";
  OpenedModel written = *OpenModel(folder_ / "out");
  std::vector<Tensor> tensors = written.checkpoint.tensors;
  const auto change = [&](const std::string& tensor, std::size_t byte) {
    Tensor& changed = tensors[written.checkpoint.index.at(tensor)];
    auto bytes = std::make_shared<std::vector<std::uint8_t>>(changed.bytes.begin(), changed.bytes.end());
    (*bytes)[byte] ^= 1;
    changed.bytes = *bytes;
    written.checkpoint.made.push_back(bytes);
    written.checkpoint.Replace(tensors);
    const auto compared = CompareFolders(source, written, {});
    EXPECT_FALSE(compared.ok());
    return compared.ok() ? std::string() : compared.error().message;
  };
  EXPECT_NE(change("model.norm.weight", 2).find("tensor model.norm.weight, row 0, column 1: got "), std::string::npos);
  EXPECT_NE(change(name + ".weight_scale", 2).find(name + ", row 1, group 0: got scale "), std::string::npos);
  EXPECT_NE(change(name + ".weight_packed", 17).find(name + ", row 1: byte 1 of its codes: got "), std::string::npos);
  tensors.pop_back();
  written.checkpoint.Replace(tensors);
  EXPECT_FALSE(CompareFolders(source, written, {}).ok());
}

TEST_F(ExportFolder, InterruptedItLeavesNothing) {
  const OpenedModel source = Quantized("tiny-llama", "q4_0");
  const auto plan = PlanFolder(source, Options(kPacked));
  ASSERT_TRUE(plan.ok());
  g_interrupted = true;
  const auto written = WriteFolder(*plan, folder_ / "out", false, {});
  g_interrupted = false;
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, ErrorCode::kInterrupted);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1) << "the quantized folder";
}

// mlx-lm reads these keys, and has defaults of its own where they are missing.
TEST(MlxConfig, NamesTheSettingsOfRotaryPositionsTwice) {
  const auto config = [](const std::string& name) {
    const auto model = OpenModel(Tiny(name));
    EXPECT_TRUE(model.ok());
    return MlxConfig(model->checkpoint.config, model->description);
  };
  const json llama = config("tiny-llama");
  EXPECT_EQ(llama["rope_theta"], 10000.0);
  EXPECT_EQ(llama["rope_scaling"]["type"], "llama3");
  EXPECT_EQ(llama["rope_scaling"]["factor"], 4.0);
  EXPECT_EQ(llama["tie_word_embeddings"], false);
  EXPECT_FALSE(llama.contains("rope_local_base_freq"));
  const json gemma3 = config("tiny-gemma3");
  EXPECT_EQ(gemma3["rope_local_base_freq"], 10000.0);
  EXPECT_EQ(gemma3["rope_theta"], 1000000.0);
  const json gemma4 = config("tiny-gemma4");
  EXPECT_EQ(gemma4["global_head_dim"], 16);
  EXPECT_FALSE(gemma4.contains("per_layer_config"));
  const json neox = config("tiny-gpt-neox");
  EXPECT_EQ(neox["rotary_emb_base"], 10000.0);
  EXPECT_EQ(neox["rotary_pct"], 0.5);
}

}  // namespace
}  // namespace marlin
