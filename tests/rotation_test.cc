// The loss of a rotation alone, and rotation and channel scaling from end to end.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "files/checkpoint.h"
#include "files/safetensors_writer.h"
#include "model/families/family.h"
#include "quantize/source_tensors.h"
#include "tests/program.h"
#include "tests/tiny_model.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

void CopyTokenizer(const fs::path& to) {
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    if (fs::exists(fs::path(kMinnow) / name)) fs::copy_file(fs::path(kMinnow) / name, to / name);
  }
}

// minnow with a head of its own, equal to the embedding.
void WriteUntiedMinnow(const fs::path& to) {
  fs::create_directories(to);
  const auto minnow = OpenCheckpoint(kMinnow);
  ASSERT_TRUE(minnow.ok());
  std::vector<PlannedTensor> plan;
  for (const Tensor& tensor : minnow->tensors) plan.push_back({tensor.name, tensor.dtype, tensor.shape});
  const Tensor& embedding = *minnow->Find("model.embed_tokens.weight");
  plan.push_back({"lm_head.weight", embedding.dtype, embedding.shape});
  auto writer = SafetensorsWriter::Create(to, plan);
  ASSERT_TRUE(writer.ok());
  for (const Tensor& tensor : minnow->tensors) ASSERT_TRUE(writer->Write(tensor.name, tensor.bytes).ok());
  ASSERT_TRUE(writer->Write("lm_head.weight", embedding.bytes).ok());
  ASSERT_TRUE(writer->Commit().ok());
  json config = minnow->config;
  config["tie_word_embeddings"] = false;
  ASSERT_TRUE(WriteFileAtomic(to / "config.json", config.dump()).ok());
  CopyTokenizer(to);
}

// A model as its source gives it: rotated, every tensor in the 16 bits it would stay in.
void WriteRotated(const Checkpoint& checkpoint, const fs::path& to) {
  fs::create_directories(to);
  const auto description = DescribeModel(checkpoint.config);
  ASSERT_TRUE(description.ok());
  ThreadPool pool(2);
  const auto source = SourceTensors::Create(checkpoint, *description, 1, pool);
  ASSERT_TRUE(source.ok());
  ASSERT_TRUE(source->residual_rotated());
  std::vector<PlannedTensor> plan;
  std::vector<std::vector<std::uint8_t>> bytes;
  for (const Tensor& tensor : checkpoint.tensors) {
    const auto format = source->PlainFormat(tensor.name);
    ASSERT_TRUE(format.ok());
    const auto plain = source->Plain(tensor.name, **format);
    ASSERT_TRUE(plain.ok());
    plan.push_back({tensor.name, (*format)->info.name == "bf16" ? DType::kBF16 : DType::kF16, tensor.shape});
    bytes.push_back(plain->codes);
  }
  auto writer = SafetensorsWriter::Create(to, plan);
  ASSERT_TRUE(writer.ok());
  for (std::size_t i = 0; i < plan.size(); ++i) ASSERT_TRUE(writer->Write(plan[i].name, bytes[i]).ok());
  ASSERT_TRUE(writer->Commit().ok());
  ASSERT_TRUE(WriteFileAtomic(to / "config.json", checkpoint.config.dump()).ok());
  CopyTokenizer(to);
}

double MeanKl(const fs::path& model, const fs::path& baseline) {
  const RunResult run =
      RunProgram({"eval", "divergence", model.string(), "--baseline", baseline.string(), "--data", "built-in",
                  "--samples", "4", "--floor-windows", "0", "--activations", "fp32", "--json", "-q"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  const json out = json::parse(run.out, nullptr, false);
  return out["divergence"]["kl"].get<double>();
}

// Everything in 16 bits after the rotation, embedding and head too: far below what a quantization costs (fp4-g128: 0.04
// nats), and below what bf16 instead of fp16 would (measured: 1.6e-5).
TEST(Rotation, CostsNothingThatCanBeSeen) {
  const TemporaryFolder folder;
  WriteUntiedMinnow(folder / "untied");
  const auto untied = OpenCheckpoint(folder / "untied");
  ASSERT_TRUE(untied.ok());
  WriteRotated(*untied, folder / "rotated");
  const double kl = MeanKl(folder / "rotated", folder / "untied");
  RecordProperty("kl", fmt::format("{:.3g}", kl));
  EXPECT_GT(kl, 0);
  EXPECT_LT(kl, 2e-6);
}

class Steps : public testing::Test {
 protected:
  void SetUp() override {
    WriteTinyModel(folder_ / "model");
    WriteTinyText(folder_ / "text");
  }
  RunResult Quantize(const std::string& out, std::vector<std::string> words) const {
    words.insert(words.begin(), {"quantize", (folder_ / "model").string(), "-o", (folder_ / out).string(), "--offline",
                                 "--config", "int4-g64", "-q"});
    return RunProgram(words);
  }
  std::vector<std::string> Calibrated(std::vector<std::string> words) const {
    words.insert(words.end(), {"--calibration", (folder_ / "text").string(), "--calibration-ctx", "64",
                               "--calibration-windows", "8", "--allow-overlap"});
    return words;
  }
  json Said(const std::string& out) const {
    return json::parse(*ReadFile(folder_ / out / "config.json"))["quantization_config"]["metal_marlin"];
  }

  TemporaryFolder folder_;
};

TEST_F(Steps, AreNamedInTheFolder) {
  const RunResult run = Quantize("out", Calibrated({"--method", "awq+gptq", "--rotate", "--rotation-seed", "7"}));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_NE(run.out.find("rotated"), std::string::npos) << run.out;
  EXPECT_NE(run.out.find("head"), std::string::npos) << "a tied head is said to limit it";
  const json said = Said("out");
  EXPECT_EQ(said["method"], "rotate+awq+gptq");
  EXPECT_EQ(said["rotation"], json({{"seed", 7}, {"heads", true}, {"residual", false}}));
  EXPECT_EQ(said["calibration"]["windows"], 8);
  EXPECT_EQ(RunProgram({"verify", (folder_ / "out").string(), "-q"}).exit_code, 0);
  ASSERT_EQ(Quantize("plain", {}).exit_code, 0);
  EXPECT_TRUE(Said("plain")["rotation"].is_null());
}

TEST_F(Steps, TheSameBytesForAnyNumberOfThreads) {
  const auto method = Calibrated({"--method", "rotate+awq"});
  for (const char* threads : {"1", "2"}) {
    auto words = method;
    words.insert(words.end(), {"--threads", threads});
    ASSERT_EQ(Quantize(threads, words).exit_code, 0);
  }
  EXPECT_EQ(*ReadFile(folder_ / "1" / "model.safetensors"), *ReadFile(folder_ / "2" / "model.safetensors"));
}

TEST_F(Steps, ScalingFromAFileOfStatistics) {
  const std::string stats = (folder_ / "stats").string();
  const RunResult calibrate =
      RunProgram({"calibrate", (folder_ / "model").string(), "--data", (folder_ / "text").string(), "--ctx", "64",
                  "--windows", "8", "-o", stats, "--allow-overlap", "--offline", "-q"});
  ASSERT_EQ(calibrate.exit_code, 0) << calibrate.err;
  const RunResult run = Quantize("out", {"--method", "awq", "--stats", stats});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(Said("out")["method"], "awq");
  EXPECT_EQ(Said("out")["calibration"]["walk"], false);

  const RunResult rotated = Quantize("other", {"--method", "rotate+awq", "--stats", stats});
  EXPECT_EQ(rotated.exit_code, 2);
  EXPECT_NE(rotated.err.find("--calibration TEXT"), std::string::npos) << rotated.err;
  const RunResult gram = Quantize("other", {"--method", "awq+gptq", "--stats", stats});
  EXPECT_EQ(gram.exit_code, 2);
  EXPECT_NE(gram.err.find("--full-gram"), std::string::npos) << gram.err;
}

TEST_F(Steps, AreRefusedWithoutWhatTheyNeed) {
  const RunResult text = Quantize("out", {"--method", "awq"});
  EXPECT_EQ(text.exit_code, 2);
  EXPECT_NE(text.err.find("needs a calibration text"), std::string::npos) << text.err;
  const RunResult alone = Quantize("out", {"--method", "rotate"});
  EXPECT_EQ(alone.exit_code, 2);
  EXPECT_NE(alone.err.find("rotate+gptq"), std::string::npos) << alone.err;
  const RunResult unknown = Quantize("out", {"--method", "awq+magic"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_NE(unknown.err.find("gptq"), std::string::npos) << unknown.err;
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

}  // namespace
}  // namespace marlin
