// Every tiny checkpoint as GGUF and back: settings and numbers are the same. Logits: tests/export_test.cc.
#include "model/export_gguf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/half.h"
#include "base/rng.h"
#include "files/gguf.h"
#include "files/safetensors_writer.h"
#include "files/test_files.h"
#include "model/same_description.h"
#include "model/test_description.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

fs::path Testdata(const std::string& name) { return fs::path(MARLIN_SOURCE_DIR) / "src/model/testdata" / name; }

class ExportGguf : public TemporaryFolder, public testing::WithParamInterface<const char*> {
 protected:
  Result<GgufWritten> Export(const OpenedModel& source, const GgufExportOptions& options) const {
    std::optional<Tokenizer> tokenizer;
    if (Tokenizer::IsThere(source.checkpoint)) {
      auto read = Tokenizer::FromCheckpoint(source.checkpoint);
      if (!read) return read.error();
      tokenizer = *std::move(read);
    }
    const auto plan = PlanGguf(source, tokenizer ? &*tokenizer : nullptr, options);
    if (!plan) return plan.error();
    return WriteGguf(source, *plan, folder_ / "out.gguf", options, {});
  }
  void ExpectSameModel(const OpenedModel& source) const {
    const auto written = OpenModel(folder_ / "out.gguf");
    ASSERT_TRUE(written.ok()) << written.error().message;
    const auto difference = FirstDifference(source.description, written->description);
    EXPECT_FALSE(difference.has_value()) << difference->setting << ": " << difference->first << ", "
                                         << difference->second;
    const auto compared = CompareTensors(source, folder_ / "out.gguf", {});
    ASSERT_TRUE(compared.ok()) << compared.error().message;
    EXPECT_GT(compared->tensors, 15u);
    EXPECT_EQ(compared->rounded, 0u);
  }
};

TEST_P(ExportGguf, ReadsBackAsTheSameModel) {
  const auto source = OpenModel(Testdata(GetParam()));
  ASSERT_TRUE(source.ok()) << source.error().message;
  GgufExportOptions options;
  options.program = "program 1";  // it replaces its own files only
  const auto written = Export(*source, options);
  ASSERT_TRUE(written.ok()) << written.error().message;
  ExpectSameModel(*source);
  // And as F32.
  options.type = DType::kF32;
  options.overwrite = true;
  ASSERT_TRUE(Export(*source, options).ok());
  ExpectSameModel(*source);
}

INSTANTIATE_TEST_SUITE_P(Families, ExportGguf,
                         testing::Values("tiny-llama", "tiny-qwen2", "tiny-qwen3", "tiny-gemma2", "tiny-gemma3",
                                         "tiny-gemma4", "tiny-gemma4-e", "tiny-ministral3", "tiny-phi3", "tiny-smollm3",
                                         "tiny-olmo2", "tiny-olmo3", "tiny-granite", "tiny-glm4", "tiny-seed-oss",
                                         "tiny-gpt2", "tiny-gpt-neox", "tiny-gemma2.gguf", "tiny-gemma3.gguf",
                                         "tiny-gemma4.gguf", "tiny-gemma4-e.gguf", "tiny-ministral3.gguf",
                                         "tiny-phi3.gguf", "tiny-qwen3.gguf", "tiny-smollm3.gguf", "tiny-olmo2.gguf",
                                         "tiny-olmo3.gguf", "tiny-granite.gguf", "tiny-glm4.gguf", "tiny-seed-oss.gguf",
                                         "tiny-gpt2.gguf", "tiny-gpt-neox.gguf"),
                         [](const auto& tested) {
                           std::string name = tested.param;
                           std::ranges::replace_if(
                               name, [](char c) { return c == '-' || c == '.'; }, '_');
                           return name;
                         });

class ExportGgufErrors : public ExportGguf {
 protected:
  // A model of this configuration with random numbers.
  fs::path WriteRandom(const nlohmann::json& config) const {
    const auto description = DescribeModel(config);
    EXPECT_TRUE(description.ok());
    std::map<std::string, std::vector<std::size_t>> shapes;
    for (const StoredTensor& tensor : description->tensors) shapes[tensor.name] = tensor.shape;
    for (const SplitTensor& split : description->splits) {
      shapes.erase(description->tensors[split.tensor].name);
      shapes[split.stored.name] = split.stored.shape;
    }
    const fs::path folder = folder_ / "random";
    fs::create_directories(folder);
    EXPECT_TRUE(WriteFileAtomic(folder / "config.json", config.dump()).ok());
    std::vector<PlannedTensor> plan;
    for (const auto& [name, shape] : shapes) plan.push_back({name, DType::kBF16, shape});
    auto writer = SafetensorsWriter::Create(folder, plan);
    EXPECT_TRUE(writer.ok());
    Rng rng(1);
    for (const auto& [name, shape] : shapes) {
      const std::size_t bytes = *ByteSize(DType::kBF16, shape, name);
      std::vector<std::uint8_t> values;
      while (values.size() < bytes) {
        const std::uint16_t bits = FloatToBf16(static_cast<float>(rng.Uniform() - 0.5));
        values.push_back(static_cast<std::uint8_t>(bits));
        values.push_back(static_cast<std::uint8_t>(bits >> 8));
      }
      EXPECT_TRUE(writer->Write(name, values).ok());
    }
    EXPECT_TRUE(writer->Commit().ok());
    return folder;
  }
  // The tiny Llama with a value changed.
  fs::path WriteChanged(const std::string& tensor, float value) const {
    const auto source = OpenCheckpoint(Testdata("tiny-llama"));
    EXPECT_TRUE(source.ok());
    const fs::path folder = folder_ / "model";
    fs::create_directories(folder);
    EXPECT_TRUE(WriteFileAtomic(folder / "config.json", source->config.dump()).ok());
    std::vector<PlannedTensor> plan;
    for (const Tensor& each : source->tensors) plan.push_back({each.name, each.dtype, each.shape});
    auto writer = SafetensorsWriter::Create(folder, plan);
    EXPECT_TRUE(writer.ok());
    for (const Tensor& each : source->tensors) {
      std::vector<std::uint8_t> bytes(each.bytes.begin(), each.bytes.end());
      const std::uint16_t bits = FloatToBf16(value);
      if (each.name == tensor) std::memcpy(bytes.data() + 2 * each.cols(), &bits, sizeof(bits));
      EXPECT_TRUE(writer->Write(each.name, bytes).ok());
    }
    EXPECT_TRUE(writer->Commit().ok());
    return folder;
  }
};

TEST_F(ExportGgufErrors, WhatGgufDoesNotHoldIsNamed) {
  for (const auto& [name, part] :
       {std::pair{"tiny-mistral", "no attention windows, and this model has one of 9 tokens"},
        std::pair{"tiny-glm", "chatglm wants heads that make up the hidden size 32"}}) {
    const auto source = OpenModel(Testdata(name));
    ASSERT_TRUE(source.ok());
    const auto plan = PlanGguf(*source, nullptr, {});
    ASSERT_FALSE(plan.ok()) << name;
    EXPECT_EQ(plan.error().code, ErrorCode::kUnsupported);
    EXPECT_NE(plan.error().message.find(part), std::string::npos) << plan.error().message;
  }
}

// No tiny checkpoint of GLM-4-9B has heads that make up the hidden size, as published models have.
TEST_F(ExportGgufErrors, GlmIsWrittenAsChatGlm) {
  const nlohmann::json config = {{"architectures", {"GlmForCausalLM"}},
                                 {"vocab_size", 40},
                                 {"hidden_size", 48},
                                 {"num_hidden_layers", 2},
                                 {"num_attention_heads", 4},
                                 {"num_key_value_heads", 2},
                                 {"head_dim", 12},
                                 {"intermediate_size", 20},
                                 {"max_position_embeddings", 64},
                                 {"rms_norm_eps", 1e-5},
                                 {"attention_bias", true},
                                 {"tie_word_embeddings", false}};
  const auto source = OpenModel(WriteRandom(config));
  ASSERT_TRUE(source.ok()) << source.error().message;
  const auto written = Export(*source, {});
  ASSERT_TRUE(written.ok()) << written.error().message;
  EXPECT_EQ(*GgufFile::Open(folder_ / "out.gguf")->Require<std::string_view>("general.architecture"), "chatglm");
  ExpectSameModel(*source);
}

TEST_F(ExportGgufErrors, ANumberBeyondF16IsAnErrorAndNeverInfinity) {
  const auto source = OpenModel(WriteChanged("model.layers.1.mlp.up_proj.weight", 70000));
  ASSERT_TRUE(source.ok()) << source.error().message;
  GgufExportOptions options;
  options.type = DType::kF16;
  const auto written = Export(*source, options);
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, ErrorCode::kNumerical);
  EXPECT_NE(written.error().message.find("tensor blk.1.ffn_up.weight: 70144 in row 1 is beyond 65504"),
            std::string::npos)
      << written.error().message;
  EXPECT_NE(written.error().message.find("--type bf16"), std::string::npos);
  EXPECT_FALSE(fs::exists(folder_ / "out.gguf"));
  options.type = DType::kBF16;
  EXPECT_TRUE(Export(*source, options).ok());
}

TEST_F(ExportGgufErrors, AChangedNumberIsFound) {
  const auto source = OpenModel(Testdata("tiny-llama"));
  ASSERT_TRUE(source.ok());
  ASSERT_TRUE(Export(*source, {}).ok());
  const auto other = OpenModel(WriteChanged("model.layers.1.mlp.up_proj.weight", 3));
  ASSERT_TRUE(other.ok());
  const auto compared = CompareTensors(*other, folder_ / "out.gguf", {});
  ASSERT_FALSE(compared.ok());
  EXPECT_EQ(compared.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(compared.error().message.find("tensor blk.1.ffn_up.weight, row 1, column 0: got "), std::string::npos)
      << compared.error().message;
  EXPECT_NE(compared.error().message.find("want 3"), std::string::npos) << compared.error().message;
}

TEST_F(ExportGgufErrors, ProvenanceAndTypeAreInTheFile) {
  const auto source = OpenModel(Testdata("tiny-llama"));
  ASSERT_TRUE(source.ok());
  GgufExportOptions options;
  options.program = "program 1";
  options.source_sha256 = "abc";
  ASSERT_TRUE(Export(*source, options).ok());
  const auto file = GgufFile::Open(folder_ / "out.gguf");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(*file->Require<std::string_view>("metal_marlin.program"), "program 1");
  EXPECT_EQ(*file->Require<std::string_view>("metal_marlin.source_sha256"), "abc");
  EXPECT_EQ(*file->Require<std::int64_t>("general.file_type"), 32);
}

TEST(SameDescription, TheFirstDifferenceIsNamed) {
  const Description one = TestDescription({});
  EXPECT_FALSE(FirstDifference(one, one).has_value());
  Description other = one;
  std::get<Attention>(other.blocks[1].mixer).window = 5;
  auto difference = FirstDifference(one, other);
  ASSERT_TRUE(difference.has_value());
  EXPECT_EQ(difference->setting, "block 1: attention window (0: none)");
  EXPECT_EQ(difference->first + " " + difference->second, "0 5");
  std::get<Attention>(other.blocks[1].mixer).window = other.max_context;
  EXPECT_FALSE(FirstDifference(one, other).has_value()) << "a window that holds the context is none";
  other.ropes[0].scaling.frequencies[1] *= 1.001f;
  EXPECT_TRUE(FirstDifference(one, other).has_value());
  EXPECT_TRUE(FirstDifference(one, TestDescription({.tied = true})).has_value());
  EXPECT_TRUE(FirstDifference(one, TestDescription({.layers = 3})).has_value());
}

}  // namespace
}  // namespace marlin
