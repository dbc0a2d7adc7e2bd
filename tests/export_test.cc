// export and check-export, as a user runs them.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/program.h"
#include "tests/tiny_gguf.h"
#include "tests/tiny_model.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

std::string TestModel(const std::string& name) {
  return std::string(MARLIN_SOURCE_DIR) + "/src/model/testdata/" + name;
}

class Export : public testing::Test {
 protected:
  std::string Out() const { return folder_ / "out.gguf"; }
  RunResult Run(const std::string& model, std::vector<std::string> more = {}) const {
    std::vector<std::string> words = {"export", model, "-o", Out(), "--to", "gguf"};
    words.insert(words.end(), more.begin(), more.end());
    return RunProgram(words);
  }
  void ExpectRefusal(const RunResult& result, int code, const std::string& part) const {
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
  }
  const TemporaryFolder folder_;
};

std::string TestNameOf(const testing::TestParamInfo<const char*>& tested) {
  std::string name = tested.param;
  std::ranges::replace_if(
      name, [](char c) { return c == '-' || c == '.'; }, '_');
  return name;
}

class ExportFamilies : public Export, public testing::WithParamInterface<const char*> {};

TEST_P(ExportFamilies, LogitsOfAWindowAreTheSame) {
  const RunResult made = Run(TestModel(GetParam()), {"-q"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const RunResult checked = RunProgram({"check-export", Out(), TestModel(GetParam()), "--json", "-q"});
  ASSERT_EQ(checked.exit_code, 0) << checked.err;
  const json data = json::parse(checked.out);
  EXPECT_EQ(data["same"], true);
  EXPECT_EQ(data["rounded"], 0);
  EXPECT_GE(data["logits"]["tokens"], 32);
  EXPECT_LE(data["logits"]["relative"], 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Families, ExportFamilies,
                         testing::Values("tiny-llama", "tiny-qwen2", "tiny-qwen3", "tiny-gemma2", "tiny-gemma3",
                                         "tiny-gemma4", "tiny-gemma4-e", "tiny-ministral3", "tiny-phi3", "tiny-smollm3",
                                         "tiny-olmo2", "tiny-olmo3", "tiny-granite", "tiny-glm4", "tiny-seed-oss",
                                         "tiny-gpt2", "tiny-gpt-neox", "tiny-gemma4.gguf", "tiny-phi3.gguf",
                                         "tiny-gpt2.gguf"),
                         TestNameOf);

// The codes and scales of a quantized folder stand in the file as they are.
TEST_F(Export, QuantizedWeightsStayAsTheyAre) {
  const std::string minnow = std::string(MARLIN_SOURCE_DIR) + "/models/minnow";
  for (const char* config : {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_k", "q5_k", "q6_k", "iq4_nl", "mxfp4",
                             "mlx-nvfp4", "int8-g128", "int4-g64", "mlx4-g64"}) {
    const std::string folder = folder_ / config;
    const RunResult quantized = RunProgram({"quantize", minnow, "-o", folder, "--config", config, "-q"});
    ASSERT_EQ(quantized.exit_code, 0) << quantized.err;
    const RunResult made = Run(folder, {"-q", "--overwrite"});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    const RunResult checked = RunProgram({"check-export", Out(), folder, "--json", "-q"});
    ASSERT_EQ(checked.exit_code, 0) << config << ": " << checked.err;
    const json data = json::parse(checked.out);
    EXPECT_EQ(data["same"], true);
    EXPECT_EQ(data["rounded"], 0);
    EXPECT_EQ(data["weights"], 7344384) << "every one";
    // Another folder's codes are not these.
    const RunResult other = RunProgram({"check-export", Out(), minnow, "-q"});
    ExpectRefusal(other, 7, "compare it with the folder that quantize made");
  }
}

// One command gives the file of two.
TEST_F(Export, QuantizeWritesForOtherPrograms) {
  ASSERT_EQ(RunProgram({"quantize", kMinnow, "-o", folder_ / "k", "--config", "q4_k", "-q"}).exit_code, 0);
  ASSERT_EQ(Run(folder_ / "k", {"-q"}).exit_code, 0);
  const std::string direct = folder_ / "direct.gguf";
  const RunResult made = RunProgram({"quantize", kMinnow, "-o", direct, "--config", "q4_k", "--to", "gguf", "-q"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_EQ(RunProgram({"check-export", direct, folder_ / "k", "-q"}).exit_code, 0);
  EXPECT_FALSE(fs::exists(direct + ".quantized"));
  const std::string mlx = folder_ / "mlx";
  ASSERT_EQ(RunProgram({"quantize", kMinnow, "-o", mlx, "--config", "mlx4-g64", "--to", "mlx", "-q"}).exit_code, 0);
  EXPECT_TRUE(fs::exists(fs::path(mlx) / "model.safetensors"));
}

TEST_F(Export, QuantizeRefusesBeforeItWorks) {
  const std::string out = folder_ / "x.gguf";
  const auto quantize = [&](const std::string& config, const std::string& to) {
    return RunProgram({"quantize", kMinnow, "-o", out, "--config", config, "--to", to, "-q"});
  };
  ExpectRefusal(quantize("fp4-g64", "gguf"), 2, "holds no fp4-g64 weights without loss (no container does)");
  ExpectRefusal(quantize("q4_k", "mlx"), 2, "holds no q4_k weights without loss (held by GGUF)");
  ExpectRefusal(quantize("mxfp4", "tensorrt"), 2, "tensorrt");
  ExpectRefusal(quantize("mxfp4", "vllm"), 2, "vllm reads compressed-tensors: want --to compressed-tensors");
  ExpectRefusal(quantize("Q4_K_M", "gguf"), 2, "q4_k_m is a mix of types: take q4_k for all layers, or let");
  ExpectRefusal(RunProgram({"plan", kMinnow, "-o", out, "--for", "llama.cpp"}), 2, "llama.cpp: want --for gguf");
  ExpectRefusal(RunProgram({"quantize", kMinnow, "-o", out, "--config", "q4_k", "-q"}), 2, "add --to gguf");
  fs::create_directories(out + ".quantized");
  ExpectRefusal(quantize("mxfp4", "gguf"), 3, "is left from a run that did not end");
  fs::remove_all(out + ".quantized");
  std::ofstream(out) << "mine";
  ExpectRefusal(quantize("mxfp4", "gguf"), 3, "exists; use --overwrite");
  ExpectRefusal(RunProgram({"export", kMinnow, "-o", out, "--overwrite"}), 3, "this program did not write it");
  EXPECT_EQ(*ReadFile(out), "mine");
}

// INT4 is Q4_1 there: a scale and a bias for 32 weights.
TEST_F(Export, SaysWhatTakesMoreBitsThere) {
  const RunResult made =
      RunProgram({"quantize", kMinnow, "-o", folder_ / "x.gguf", "--config", "int4-g128", "--to", "gguf"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_NE(made.err.find("int4-g128 takes 5 bits per weight in gguf, more than in a folder"), std::string::npos)
      << made.err;
  EXPECT_NE(made.out.find("read back        tensors 74, "), std::string::npos) << made.out;
  EXPECT_NE(made.out.find("rtn, as no text was given; `--calibration wikitext2` chooses gptq-cd"), std::string::npos)
      << made.out;
}

// What the container does not hold stays, and says how to go on.
TEST_F(Export, AFolderThatCannotBeExportedStays) {
  const std::string out = folder_ / "mlx";
  const RunResult run = RunProgram({"quantize", kMinnow, "-o", out, "--config", "int4-g128", "--to", "mlx", "-q"});
  ExpectRefusal(run, 5, "not lossless");
  EXPECT_NE(run.err.find("the quantized folder stays"), std::string::npos) << run.err;
  EXPECT_FALSE(fs::exists(out));
  EXPECT_EQ(RunProgram({"export", out + ".quantized", "-o", out, "--to", "mlx", "--type", "f16", "-q"}).exit_code, 0);
}

// Rows of 88 weights hold no block: these matrices stay in 16 bits.
TEST_F(Export, QuantizeKeepsWhatBlocksDoNotDivide) {
  const std::string out = folder_ / "small.gguf";
  const RunResult made = RunProgram(
      {"quantize", TestModel("tiny-olmo2.gguf"), "-o", out, "--config", "q4_0", "--to", "gguf", "--json", "-q"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const json data = json::parse(made.out);
  EXPECT_FALSE(data["kept_16_bit"].empty());
  for (const json& name : data["kept_16_bit"]) EXPECT_TRUE(name.get<std::string>().ends_with("down_proj")) << name;
  EXPECT_EQ(data["exported"][0], out);
}

TEST_F(Export, RowsThatBlocksDoNotDivideAreNamed) {
  const std::string model = TestModel("tiny-olmo2.gguf");
  ASSERT_EQ(RunProgram({"quantize", model, "-o", folder_ / "small", "--config", "q4_0", "-q"}).exit_code, 0);
  ExpectRefusal(Run(folder_ / "small"), 5, "mlp.down_proj.weight has rows of 88 weights, and Q4_0 has blocks of 32");
  EXPECT_EQ(Run(folder_ / "small", {"--type", "f32", "-q"}).exit_code, 0);
  const RunResult checked = RunProgram({"check-export", Out(), folder_ / "small", "-q"});
  EXPECT_EQ(checked.exit_code, 0) << checked.err;
}

TEST_F(Export, MinnowInParts) {
  const RunResult made = Run(kMinnow, {"--split-size", "10MB", "--type", "f32"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_NE(made.out.find("out-00001-of-00003.gguf: 74 tensors, 29.5 MB in 3 files"), std::string::npos) << made.out;
  EXPECT_FALSE(fs::exists(Out()));
  const RunResult checked = RunProgram({"check-export", folder_ / "out-00001-of-00003.gguf", kMinnow});
  ASSERT_EQ(checked.exit_code, 0) << checked.err;
  EXPECT_NE(checked.out.find("tensors    74, 7344384 weights, each bit for bit\n"), std::string::npos) << checked.out;
  EXPECT_NE(checked.out.find("tokenizer  the same tokens"), std::string::npos) << checked.out;
}

TEST_F(Export, SaysOnceMoreThatAFileExists) {
  ASSERT_EQ(Run(TestModel("tiny-llama")).exit_code, 0);
  ExpectRefusal(Run(TestModel("tiny-llama")), 3, "out.gguf exists; use --overwrite");
  EXPECT_EQ(Run(TestModel("tiny-llama"), {"--overwrite"}).exit_code, 0);
}

TEST_F(Export, WhatCannotBeWrittenIsNamed) {
  ExpectRefusal(Run(TestModel("tiny-mistral")), 5, "GGUF's architecture llama has no attention windows");
  ExpectRefusal(Run(TestModel("tiny-llama"), {"--type", "q9_z"}), 2, "--type");
  ExpectRefusal(Run(TestModel("tiny-llama"), {"--split-size", "many"}), 2, "--split-size");
  ExpectRefusal(Run(folder_ / "nothing"), 3, "no such model");
  ExpectRefusal(RunProgram({"export", TestModel("tiny-llama"), "-o", folder_ / "out.bin"}), 2, "by the ending .gguf");
  ExpectRefusal(RunProgram({"export", TestModel("tiny-llama"), "-o", Out(), "--to", "zip"}), 2, "--to");
  WriteTinyModel(folder_ / "model");
  ASSERT_EQ(RunProgram({"quantize", folder_ / "model", "-o", folder_ / "small", "--config", "fp4-g32", "-q"}).exit_code,
            0);
  ExpectRefusal(Run(folder_ / "small"), 5, "is fp4-g32, which no type of GGUF holds without loss; quantize to one of ");
  WriteTinyGguf(folder_ / "blocks.gguf");
  ExpectRefusal(Run(folder_ / "blocks.gguf"), 5, "is IQ4_NL: the model is quantized");
  EXPECT_FALSE(fs::exists(Out()));
}

TEST_F(Export, AQuantizedFileIsWrittenAsWhatItDecodesTo) {
  WriteTinyGguf(folder_ / "blocks.gguf");
  ASSERT_EQ(Run(folder_ / "blocks.gguf", {"--type", "f32"}).exit_code, 0);
  const RunResult exact = RunProgram({"check-export", Out(), folder_ / "blocks.gguf", "--json", "-q"});
  ASSERT_EQ(exact.exit_code, 0) << exact.err;
  EXPECT_EQ(json::parse(exact.out)["rounded"], 0);
  ASSERT_EQ(Run(folder_ / "blocks.gguf", {"--type", "bf16", "--overwrite"}).exit_code, 0);
  const RunResult rounded = RunProgram({"check-export", Out(), folder_ / "blocks.gguf", "--json", "-q"});
  ASSERT_EQ(rounded.exit_code, 0) << rounded.err;
  EXPECT_GT(json::parse(rounded.out)["rounded"], 0);
}

TEST_F(Export, ADiskThatFillsLeavesNothing) {
  RunOptions options;
  options.file_size_limit = 1 << 20;
  const RunResult result = RunProgram({"export", kMinnow, "-o", Out(), "-q"}, options);
  EXPECT_EQ(result.exit_code, 4) << result.err;
  EXPECT_TRUE(fs::is_empty(folder_.path()));
}

TEST_F(Export, CheckNamesTheFirstDifference) {
  ASSERT_EQ(Run(TestModel("tiny-llama")).exit_code, 0);
  ExpectRefusal(RunProgram({"check-export", Out(), TestModel("tiny-qwen3")}), 7,
                "self_attn.q_proj rows is 32, want 48");
  // The last byte of the file belongs to the last tensor, or to its padding.
  std::fstream file(Out(), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-40, std::ios::end);
  file.write("\x40\x40\x40\x40", 4);
  file.close();
  const RunResult changed = RunProgram({"check-export", Out(), TestModel("tiny-llama")});
  ExpectRefusal(changed, 7, ": got ");
  EXPECT_NE(changed.err.find("tensor "), std::string::npos) << changed.err;
  ExpectRefusal(RunProgram({"check-export", TestModel("tiny-llama"), TestModel("tiny-llama")}), 2, "is no GGUF file");
}

// Folders for other programs, from minnow quantized to one format.
class ExportFolders : public Export {
 protected:
  std::string Folder() const { return folder_ / "out"; }
  std::string Quantized(const std::string& config) const {
    const std::string folder = folder_ / config;
    const RunResult made = RunProgram({"quantize", kMinnow, "-o", folder, "--config", config, "-q"});
    EXPECT_EQ(made.exit_code, 0) << made.err;
    return folder;
  }
  RunResult To(const std::string& container, const std::string& model, std::vector<std::string> more = {}) const {
    std::vector<std::string> words = {"export", model, "-o", Folder(), "--to", container};
    words.insert(words.end(), more.begin(), more.end());
    return RunProgram(words);
  }
  json Compared(const std::string& source) const {
    const RunResult checked = RunProgram({"check-export", Folder(), source, "--json", "-q"});
    EXPECT_EQ(checked.exit_code, 0) << checked.err;
    return checked.exit_code == 0 ? json::parse(checked.out) : json();
  }
};

TEST_F(ExportFolders, EveryFormatThatCompressedTensorsHolds) {
  for (const char* config : {"int4-g64", "int4-g128", "q4_0", "int8-g128", "q8_0", "mxfp4", "nvfp4"}) {
    const std::string source = Quantized(config);
    const RunResult made = To("compressed-tensors", source, {"--overwrite"});
    ASSERT_EQ(made.exit_code, 0) << config << ": " << made.err;
    const json data = Compared(source);
    EXPECT_EQ(data["same"], true) << config;
    EXPECT_EQ(data["rounded"], 0) << config;
    EXPECT_EQ(data["weights"], 7344384) << config;
    EXPECT_EQ(data["logits"]["difference"], 0) << config;
    EXPECT_EQ(RunProgram({"verify", Folder(), "-q"}).exit_code, 0);
  }
}

TEST_F(ExportFolders, EveryFormatThatMlxHolds) {
  for (const char* config : {"int4-g64", "int4-g128", "q4_0", "q4_1", "int8-g128", "q8_0", "mxfp4", "mlx-nvfp4",
                             "mlx4-g32", "mlx4-g64", "mlx4-g128"}) {
    const std::string source = Quantized(config);
    const RunResult made = To("mlx", source, {"--overwrite", "--type", "f32"});
    ASSERT_EQ(made.exit_code, 0) << config << ": " << made.err;
    const json data = Compared(source);
    EXPECT_EQ(data["same"], true) << config;
    EXPECT_EQ(data["rounded"], 0) << config;
    EXPECT_EQ(data["logits"]["difference"], 0) << config;
  }
  // In the type of the model, where that holds them.
  for (const char* config : {"mxfp4", "mlx-nvfp4", "mlx4-g32", "mlx4-g64", "mlx4-g128"}) {
    ASSERT_EQ(To("mlx", folder_ / config, {"--overwrite"}).exit_code, 0) << config;
    EXPECT_EQ(Compared(folder_ / config)["rounded"], 0) << config;
  }
  const RunResult inexact = To("mlx", folder_ / "int4-g64", {"--overwrite"});
  ExpectRefusal(inexact, 5, "not lossless: model.layers.0.mlp.down_proj is int4-g64, and BF16 does not hold the scale");
  ASSERT_EQ(To("mlx", folder_ / "q8_0", {"--overwrite", "--type", "f16"}).exit_code, 0);
  const json rounded = Compared(folder_ / "q8_0");
  EXPECT_GT(rounded["rounded"], 0) << "numbers of the embedding";
  EXPECT_LT(rounded["rounded"], 100);
  // Another folder's codes are not these.
  ExpectRefusal(RunProgram({"check-export", Folder(), folder_ / "mxfp4", "-q"}), 7, "is q8_0 [");
}

TEST_F(ExportFolders, InParts) {
  const std::string source = Quantized("q4_0");
  ASSERT_EQ(To("compressed-tensors", source, {"--split-size", "3MB"}).exit_code, 0);
  EXPECT_TRUE(fs::exists(folder_ / "out" / "model-00002-of-00002.safetensors"));
  EXPECT_EQ(Compared(source)["same"], true);
}

TEST_F(ExportFolders, WhatCannotBeWrittenIsNamed) {
  const std::string source = Quantized("q4_0");
  ExpectRefusal(To("compressed-tensors", kMinnow), 5, "is not a folder made by quantize, and compressed-tensors");
  ExpectRefusal(To("mlx", Quantized("fp4-g32")), 5, "fp4-g32, which MLX does not hold without loss");
  ExpectRefusal(To("compressed-tensors", source, {"--type", "f16"}), 2, "--type is for gguf and mlx");
  ExpectRefusal(To("mlx", source, {"--split-size", "0MB"}), 2, "--split-size: \"0MB\" is not a size");
  ASSERT_EQ(RunProgram({"quantize", TestModel("tiny-olmo2.gguf"), "-o", folder_ / "small", "--config", "q4_0", "-q"})
                .exit_code,
            0);
  ExpectRefusal(To("mlx", folder_ / "small"), 5, "down_proj has rows of 88 weights, and MLX wants whole groups of 32");
  EXPECT_FALSE(fs::exists(Folder()));
  ASSERT_EQ(To("mlx", source).exit_code, 0);
  ExpectRefusal(To("mlx", source), 3, "already exists; choose another name, or give --overwrite");
  std::ofstream(folder_ / "out" / "notes.txt") << "mine";
  ExpectRefusal(To("mlx", source, {"--overwrite"}), 3, "holds notes.txt");
  ExpectRefusal(RunProgram({"check-export", folder_ / "fp4-g32", source}), 2, "no folder for other programs");
}

TEST_F(ExportFolders, ADiskThatFillsLeavesNothing) {
  const std::string source = Quantized("q4_0");
  RunOptions options;
  options.file_size_limit = 1 << 20;
  for (const char* container : {"compressed-tensors", "mlx"}) {
    const RunResult result = RunProgram({"export", source, "-o", Folder(), "--to", container, "-q"}, options);
    EXPECT_EQ(result.exit_code, 4) << result.err;
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()), 1);
  }
}

}  // namespace
}  // namespace marlin
