// Layers made as a whole: rotated, scaled, rounded, stored, reloaded.
#include "quantize/weight_maker.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "files/test_files.h"
#include "kernels/test_device.h"
#include "quantize/calibrate.h"
#include "quantize/test_checkpoints.h"

namespace marlin {
namespace {

class MakeWeights : public TemporaryFolder {
 protected:
  void SetUp() override {
    TemporaryFolder::SetUp();
    checkpoint_ = WriteTestCheckpoint(folder_ / "model", {}, 12);
    description_ = *DescribeModel(checkpoint_.config);
    Rng rng(3);
    for (int i = 0; i < 160; ++i) {
      windows_.stream.tokens.push_back(static_cast<std::int32_t>(rng.Below(description_.vocab_size)));
    }
    windows_.ctx = 32;
    windows_.begins = *SpreadWindows(160, 32, 5);
  }

  // What a run makes of the first `layers` layers and, if those are all, of the rest. messages: its progress.
  std::map<std::string, EncodedMatrix> Run(const std::string& method, int threads, std::size_t layers,
                                           std::optional<LayerStore> store, const ModelStatistics* statistics,
                                           std::string* messages = nullptr) const {
    ThreadPool pool(threads);
    const auto recipe = ParseRecipe(method);
    EXPECT_TRUE(recipe.ok()) << recipe.error().message;
    const auto source = SourceTensors::Create(checkpoint_, description_,
                                              recipe->rotate ? std::optional<std::uint64_t>(9) : std::nullopt, pool);
    std::map<std::string, const FormatRow*> formats;
    std::vector<std::string> names;
    for (const PlannedTensor& tensor : TestTensors(description_)) {
      const bool linear = tensor.name.find("_proj.weight") != std::string::npos;
      // One matrix stays as it is.
      const bool kept = tensor.name == "model.layers.0.mlp.gate_proj.weight";
      names.push_back(linear && !kept ? tensor.name.substr(0, tensor.name.size() - 7) : tensor.name);
      formats[names.back()] = linear && !kept ? format_ : *source->PlainFormat(tensor.name);
    }
    const auto backend = TestCpu(threads);
    MakerInput input{statistics, statistics == nullptr ? &windows_ : nullptr, backend.get(), std::move(store)};
    const ProgressFn progress = [&](const Progress& p) {
      if (messages != nullptr) *messages += fmt::format("{}: {} {}\n", p.stage, p.total, p.unit);
    };
    auto maker = WeightMaker::Create(*source, *recipe, formats, std::move(input), pool, progress);
    EXPECT_TRUE(maker.ok());
    std::map<std::string, EncodedMatrix> made;
    for (const std::string& name : names) {
      if (layers == 1 && !name.starts_with("model.layers.0.")) continue;
      auto matrix = maker->Make(name);
      EXPECT_TRUE(matrix.ok()) << matrix.error().message;
      made[name] = std::move(*matrix);
    }
    return made;
  }

  static void ExpectEqual(const std::map<std::string, EncodedMatrix>& a,
                          const std::map<std::string, EncodedMatrix>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (const auto& [name, matrix] : a) {
      EXPECT_EQ(matrix.codes, b.at(name).codes) << name;
      EXPECT_EQ(matrix.scales, b.at(name).scales) << name;
      EXPECT_EQ(matrix.zero_points, b.at(name).zero_points) << name;
      EXPECT_EQ(matrix.format, b.at(name).format) << name;
    }
  }

  // The model that was made, in fp32.
  TensorValues Decode(const std::map<std::string, EncodedMatrix>& made) const {
    TensorValues values;
    for (const auto& [name, matrix] : made) {
      auto& out = values[matrix.format->info.group > 0 ? name + ".weight" : name];
      out.resize(matrix.rows * matrix.cols);
      for (std::size_t r = 0; r < matrix.rows; ++r) {
        DecodeRow(matrix.view(), r, std::span(out).subspan(r * matrix.cols, matrix.cols));
      }
    }
    return values;
  }

  Checkpoint checkpoint_;
  Description description_;
  CalibrationWindows windows_;
  const FormatRow* format_ = FindFormat("int4-g64");
};

constexpr const char* kMethods[] = {"gptq", "awq", "awq+gptq", "rotate+rtn", "rotate+gptq", "rotate+awq+gptq"};

TEST_F(MakeWeights, ThreadsAndInterruptionsChangeNoBit) {
  for (const char* method : kMethods) {
    SCOPED_TRACE(method);
    const auto want = Run(method, 2, 2, std::nullopt, nullptr);
    ExpectEqual(Run(method, 1, 2, std::nullopt, nullptr), want);
    const LayerStore store(folder_ / method, "key", "arithmetic");
    Run(method, 2, 1, store, nullptr);
    std::string messages;
    ExpectEqual(Run(method, 2, 2, store, nullptr, &messages), want);
    EXPECT_NE(messages.find("layer 1 of 2, made before: 5 windows\n"), std::string::npos) << messages;
    EXPECT_NE(messages.find(" passes over 5)\n"), std::string::npos) << "a total above the number of windows says why";
    EXPECT_NE(messages.find("layer 2 of 2"), std::string::npos) << messages;
    EXPECT_EQ(messages.find("layer 2 of 2, made before"), std::string::npos) << messages;
  }
}

TEST_F(MakeWeights, WhatIsMadeIsStillTheModel) {
  ThreadPool pool(2);
  const auto source = SourceTensors::Create(checkpoint_, description_, std::nullopt, pool);
  const std::vector<float> want = LogitsOf(description_, AllValues(*source));
  format_ = FindFormat("int8-g128");
  std::map<std::string, std::vector<float>> logits;
  for (const char* method : kMethods) {
    logits[method] = LogitsOf(description_, Decode(Run(method, 2, 2, std::nullopt, nullptr)));
    // A factor or a rotation on the wrong side costs all of the logits.
    EXPECT_LT(RelativeDifference(want, logits[method]), 0.1) << method;
  }
  EXPECT_NE(logits["gptq"], logits["awq+gptq"]);
  EXPECT_NE(logits["gptq"], logits["rotate+gptq"]);
}

// The first layer sees the same with statistics of a file and in a walk.
TEST_F(MakeWeights, StatisticsOfAFileScaleTheFirstLayerAsAWalkDoes) {
  const auto backend = TestCpu(2);
  const auto model = LoadModel(checkpoint_, *backend);
  ASSERT_TRUE(model.ok());
  const auto collected =
      CollectStatistics(*model, windows_.stream, true,
                        EmptyStatistics(description_, {"model", "tokenizer", "text", "hash", 32, 5, 0}), {});
  ASSERT_TRUE(collected.ok());
  const ModelStatistics& statistics = *collected;
  for (const char* method : {"awq", "awq+gptq"}) {
    const auto from_file = Run(method, 2, 2, std::nullopt, &statistics);
    const auto walked = Run(method, 2, 2, std::nullopt, nullptr);
    std::map<std::string, EncodedMatrix> first_of_file;
    std::map<std::string, EncodedMatrix> first_walked;
    for (const auto& [name, matrix] : walked) {
      if (!name.starts_with("model.layers.0.")) continue;
      first_walked[name] = matrix;
      first_of_file[name] = from_file.at(name);
    }
    ExpectEqual(first_of_file, first_walked);
    EXPECT_NE(from_file.at("model.layers.1.mlp.down_proj").codes, walked.at("model.layers.1.mlp.down_proj").codes);
  }
}

// A checkpoint without a norm that scaling would have to change.
TEST_F(MakeWeights, AMissingTensorIsNamed) {
  ThreadPool pool(1);
  const auto recipe = ParseRecipe("awq");
  const auto source = SourceTensors::Create(checkpoint_, description_, std::nullopt, pool);
  std::map<std::string, const FormatRow*> formats;
  for (const PlannedTensor& tensor : TestTensors(description_)) {
    if (tensor.name != "model.layers.0.post_attention_layernorm.weight") formats[tensor.name] = FindFormat("bf16");
  }
  const ModelStatistics statistics = EmptyStatistics(description_, {"model", "tokenizer", "text", "hash", 32, 5, 0});
  const ProgressFn progress;
  auto maker =
      WeightMaker::Create(*source, *recipe, formats, {&statistics, nullptr, nullptr, std::nullopt}, pool, progress);
  ASSERT_TRUE(maker.ok());
  const auto made = maker->Make("model.layers.0.input_layernorm.weight");
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, ErrorCode::kInput);
  EXPECT_NE(made.error().message.find("post_attention_layernorm.weight is missing"), std::string::npos)
      << made.error().message;
}

TEST(ParseRecipe, StepsComeBeforeTheMethod) {
  struct Case {
    const char* name;
    const char* short_name;
    const char* method;
    bool rotate, scale;
    MethodNeeds cannot_miss;
  };
  for (const Case& c : {Case{"rtn", "rtn", "rtn", false, false, MethodNeeds::kNothing},
                        Case{"mse", "mse", "mse", false, false, MethodNeeds::kNothing},
                        Case{"awq", "awq", "mse", false, true, MethodNeeds::kImportance},
                        Case{"awq+mse", "awq", "mse", false, true, MethodNeeds::kImportance},
                        Case{"awq+gptq", "awq+gptq", "gptq", false, true, MethodNeeds::kGram},
                        Case{"rotate+rtn", "rotate+rtn", "rtn", true, false, MethodNeeds::kNothing},
                        Case{"rotate+awq", "rotate+awq", "mse", true, true, MethodNeeds::kImportance},
                        Case{"rotate+awq+gptq", "rotate+awq+gptq", "gptq", true, true, MethodNeeds::kGram}}) {
    const auto recipe = ParseRecipe(c.name);
    ASSERT_TRUE(recipe.ok()) << recipe.error().message;
    EXPECT_EQ(recipe->name, c.short_name);
    EXPECT_EQ(recipe->method->name, c.method);
    EXPECT_EQ(recipe->rotate, c.rotate);
    EXPECT_EQ(recipe->scale_channels, c.scale);
    EXPECT_EQ(recipe->cannot_miss, c.cannot_miss) << c.name;
  }
  for (const char* name :
       {"", "rotate", "rotate+", "+gptq", "gptq+awq", "awq+rotate+gptq", "awq+awq", "gptq+", "awq+x"}) {
    const auto recipe = ParseRecipe(name);
    ASSERT_FALSE(recipe.ok()) << name;
    EXPECT_EQ(recipe.error().code, ErrorCode::kUsage);
    EXPECT_NE(recipe.error().message.find("gptq"), std::string::npos) << recipe.error().message;
  }
}

}  // namespace
}  // namespace marlin
