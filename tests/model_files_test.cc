// What a model's files hold beyond the model: every verb leaves it out, or refuses it by the same sentence, or goes on
// with --accept-unknown and says so in the record and on the page.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "files/checkpoint.h"
#include "files/safetensors_writer.h"
#include "tests/program.h"
#include "tests/tiny_gguf.h"
#include "tests/tiny_model.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

bool Has(const std::string& text, const std::string& word) { return text.find(word) != std::string::npos; }

struct Extra {
  PlannedTensor plan;
  std::vector<std::uint8_t> bytes;
};

class ModelFiles : public testing::Test {
 protected:
  void SetUp() override {
    WriteTinyModel(folder_ / "plain");
    WriteTinyText(folder_ / "text.txt");
  }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }

  // The tiny model with further tensors and settings, without the tensor `missing`.
  std::string Write(const std::string& name, const std::vector<Extra>& extra, const json& settings = json::object(),
                    const std::string& missing = "") {
    const auto source = OpenCheckpoint(folder_ / "plain");
    EXPECT_TRUE(source.ok());
    fs::create_directories(folder_ / name);
    std::vector<PlannedTensor> plan;
    for (const Tensor& tensor : source->tensors) {
      if (tensor.name != missing) plan.push_back({tensor.name, tensor.dtype, tensor.shape});
    }
    for (const Extra& tensor : extra) plan.push_back(tensor.plan);
    auto writer = SafetensorsWriter::Create(folder_ / name, plan);
    EXPECT_TRUE(writer.ok());
    for (const Tensor& tensor : source->tensors) {
      if (tensor.name == missing) continue;
      EXPECT_TRUE(writer->Write(tensor.name, tensor.bytes).ok());
    }
    for (const Extra& tensor : extra) EXPECT_TRUE(writer->Write(tensor.plan.name, tensor.bytes).ok());
    EXPECT_TRUE(writer->Commit().ok());
    json config = source->config;
    config.update(settings);
    EXPECT_TRUE(WriteFileAtomic(folder_ / name / "config.json", config.dump()).ok());
    fs::copy_file(folder_ / "plain" / "tokenizer.json", folder_ / name / "tokenizer.json");
    return Path(name);
  }

  // Every verb that opens a model, on this one. What they write is removed.
  std::vector<RunResult> RunAll(const std::string& model, const std::vector<std::string>& more) {
    const std::string text = Path("text.txt");
    std::vector<std::vector<std::string>> commands = {
        {"inspect", model},
        {"eval", "perplexity", model, "--data", text, "--ctx", "128", "--samples", "1"},
        {"eval", "divergence", model, "--baseline", model, "--data", text, "--ctx", "128", "--samples", "1"},
        {"eval", "logits", model, "--data", text, "--ctx", "16", "-o", Path("logits.npy")},
        {"generate", model, "-p", "the", "-n", "2"},
        {"quantize", model, "--config", "fp4-g32", "-o", Path("quantized")},
        {"calibrate", model, "--data", text, "--ctx", "64", "--windows", "8", "-o", Path("statistics")},
        {"plan", model, "--calibration", text, "--calibration-ctx", "64", "--calibration-windows", "6", "--held-out",
         "8", "--budget", "5bpw", "-o", Path("plan.json")},
        {"bench", "throughput", model, "--prompt", "8", "--generate", "2", "--repetitions", "1", "--no-limits"},
        {"bench", "kernels", "--model", model, "--explain"},
        {"bench", "comparison", "-m", model, "--data", text, "--ctx", "128", "--config", "fp4-g32", "--dry-run", "-r",
         Path("results")}};
    std::vector<RunResult> runs;
    for (std::vector<std::string>& words : commands) {
      words.insert(words.end(), more.begin(), more.end());
      runs.push_back(RunProgram(words));
      for (const char* name : {"quantized", "statistics", "plan.json", "logits.npy"}) fs::remove_all(folder_ / name);
    }
    return runs;
  }

  void ExpectAll(const std::string& model, const std::vector<std::string>& more, int code, const std::string& words) {
    const auto runs = RunAll(model, more);
    for (std::size_t i = 0; i < runs.size(); ++i) {
      EXPECT_EQ(runs[i].exit_code, code) << i << ": " << runs[i].err << runs[i].out;
      EXPECT_TRUE(Has(runs[i].err, words)) << i << ": " << runs[i].err << " lacks " << words;
    }
  }

  TemporaryFolder folder_;
};

Extra Zeros(const std::string& name, DType dtype, const std::vector<std::size_t>& shape) {
  return {{name, dtype, shape}, std::vector<std::uint8_t>(*ByteSize(dtype, shape, name))};
}

TEST_F(ModelFiles, EveryVerbRefusesTheSameWithTheSameSentence) {
  const std::string norm = "model.layers.0.self_attn.q_norm.weight";
  const std::string odd = Write("odd", {Zeros(norm, DType::kBF16, {16})});
  ExpectAll(odd, {}, 5, "odd: tensor " + norm + " (BF16 [16]) has no place in a LlamaForCausalLM");
  ExpectAll(odd, {"--accept-unknown", norm}, 0, "measured without " + norm);
  const std::string setting = Write("setting", {}, {{"attention_multiplier", 0.5}});
  ExpectAll(setting, {}, 5, "\"attention_multiplier\" is 0.5, and this program does not know this key");
  ExpectAll(Write("gptq", {}, {{"quantization_config", {{"quant_method", "gptq"}}}}), {}, 5,
            "gptq: quantized by gptq, which this program does not read");
  ExpectAll(Write("headless", {}, {{"tie_word_embeddings", false}}), {}, 3, "tensor lm_head.weight is missing");
  ExpectAll(Write("cut", {}, json::object(), "model.layers.1.mlp.up_proj.weight"), {}, 3,
            "tensor model.layers.1.mlp.up_proj.weight is missing");
  ExpectAll(Write("none", {}, {{"quantization_config", nullptr}}), {}, 0, "");
}

TEST_F(ModelFiles, UnusedTensorsChangeNoSize) {
  const auto source = OpenCheckpoint(folder_ / "plain");
  ASSERT_TRUE(source.ok());
  const Tensor& embedding = *source->Find("model.embed_tokens.weight");
  const std::string full = Write(
      "full", {{{"lm_head.weight", embedding.dtype, embedding.shape}, {embedding.bytes.begin(), embedding.bytes.end()}},
               Zeros("model.position_ids", DType::kI64, {1, 512}),
               Zeros("model.layers.0.self_attn.causal", DType::kBool, {1, 1, 8, 8})});
  const auto inspect = [&](const std::string& model) {
    const RunResult run = RunProgram({"inspect", model, "--json"});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return json::parse(run.out, nullptr, false);
  };
  const json plain_view = inspect(Path("plain"));
  const json full_view = inspect(full);
  for (const char* key : {"types", "configurations", "parameters", "source_type"}) {
    EXPECT_EQ(full_view[key], plain_view[key]) << key;
  }
  EXPECT_EQ(full_view["left_out"].size(), 3u);
  const auto quantize = [&](const std::string& model, const std::string& out) {
    const RunResult run = RunProgram({"quantize", model, "--config", "fp4-g32", "-o", Path(out), "--json", "-q"});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return json::parse(run.out, nullptr, false);
  };
  EXPECT_EQ(quantize(full, "b")["model_bytes"], quantize(Path("plain"), "a")["model_bytes"]);
  EXPECT_EQ(*ReadFile(folder_ / "a" / "model.safetensors"), *ReadFile(folder_ / "b" / "model.safetensors"));
}

TEST_F(ModelFiles, WhatWasAcceptedStandsInTheFolderTheRecordAndOnThePage) {
  const std::string norm = "model.layers.0.self_attn.q_norm.weight";
  const std::string odd = Write("odd", {Zeros(norm, DType::kBF16, {16})}, {{"attention_multiplier", 0.5}});
  const std::vector<std::string> accept = {"--accept-unknown", norm, "--accept-unknown", "attention_multiplier"};
  const auto with = [&](std::vector<std::string> words) {
    words.insert(words.end(), accept.begin(), accept.end());
    return RunProgram(words);
  };
  ASSERT_EQ(with({"quantize", odd, "--config", "fp4-g32", "-o", Path("out"), "-q"}).exit_code, 0);
  const json names = {"attention_multiplier", norm};
  const json config = json::parse(*ReadFile(folder_ / "out" / "config.json"));
  EXPECT_EQ(config["quantization_config"]["metal_marlin"]["accepted_unknown"], names);
  const RunResult again =
      RunProgram({"eval", "perplexity", Path("out"), "--data", Path("text.txt"), "--ctx", "128", "--json"});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_TRUE(Has(again.err, "measured without attention_multiplier, " + norm)) << again.err;
  EXPECT_EQ(json::parse(again.out)["accepted_unknown"], names);
  const RunResult text = RunProgram({"eval", "perplexity", Path("out"), "--data", Path("text.txt"), "--ctx", "128"});
  EXPECT_TRUE(Has(text.out, "without       attention_multiplier, " + norm + " (--accept-unknown)")) << text.out;

  const RunResult run = with({"bench", "comparison", "-m", odd, "--data", Path("text.txt"), "--ctx", "128", "--config",
                              "fp4-g32", "--no-timing", "-r", Path("results")});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  std::size_t records = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "results")) {
    if (entry.path().extension() != ".json") continue;
    ++records;
    EXPECT_EQ(json::parse(*ReadFile(entry.path()))["model"]["accepted_unknown"], names) << entry.path();
  }
  EXPECT_EQ(records, 3u) << "two rows and the noise floor of the baseline";
  const RunResult report = RunProgram({"report", "generate", Path("results"), "-o", Path("page")});
  ASSERT_EQ(report.exit_code, 0) << report.err;
  EXPECT_TRUE(Has(report.out, "‡ measured without attention_multiplier, " + norm)) << report.out;
}

TEST_F(ModelFiles, AnUnusedNameIsSaid) {
  const RunResult run = RunProgram({"inspect", Path("plain"), "--accept-unknown", "model.nrom.weight"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_TRUE(Has(run.err, "--accept-unknown model.nrom.weight has no effect")) << run.err;
}

// The folder of a GGUF whose biases no Hugging Face key describes computes what the file does.
TEST_F(ModelFiles, BiasesOfAGgufReachTheFolder) {
  const auto perplexity = [&](const std::string& model) {
    const RunResult run = RunProgram({"eval", "perplexity", model, "--data", Path("text.txt"), "--ctx", "128",
                                      "--activations", "fp32", "--json", "-q"});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return json::parse(run.out, nullptr, false)["ppl"].get<double>();
  };
  WriteTinyGguf(folder_ / "plain.gguf");
  WriteTinyGguf(folder_ / "biased.gguf", {"attn_v", "ffn_up"});
  for (const char* name : {"plain", "biased"}) {
    const RunResult run = RunProgram({"quantize", Path(name + std::string(".gguf")), "--config", "int8-g128", "-o",
                                      Path(name + std::string("-int8")), "-q"});
    ASSERT_EQ(run.exit_code, 0) << run.err;
  }
  const double plain = perplexity(Path("plain.gguf"));
  const double biased = perplexity(Path("biased.gguf"));
  EXPECT_GT(std::abs(biased / plain - 1), 0.01);
  EXPECT_NEAR(perplexity(Path("biased-int8")) / biased, 1, 2e-3);
  const json config = json::parse(*ReadFile(folder_ / "biased-int8" / "config.json"));
  EXPECT_EQ(config["metal_marlin_biases"], (json{"model.layers.0.self_attn.v_proj", "model.layers.0.mlp.up_proj"}));
}

}  // namespace
}  // namespace marlin
