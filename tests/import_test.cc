// Files of other programs as rows of the comparison.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/rng.h"
#include "tests/program.h"
#include "tests/tiny_gguf.h"
#include "tests/tiny_model.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

class Import : public testing::Test {
 protected:
  void SetUp() override {
    WriteTinyGguf(folder_ / "base.gguf");
    WriteTinyGguf(folder_ / "other.gguf");
    WriteTinyModel(folder_ / "model");
    WriteTinyText(folder_ / "text.txt");
  }

  RunResult Compare(const std::string& model, std::vector<std::string> more) const {
    std::vector<std::string> words = {"bench",          "comparison",     "--model",  (folder_ / model).string(),
                                      "--data",         Path("text.txt"), "--ctx",    "128",
                                      "--results",      Path("results"),  "--config", "fp4-g64",
                                      "--quick-timing", "--no-kernels"};
    words.insert(words.end(), more.begin(), more.end());
    return RunProgram(words);
  }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }

  TemporaryFolder folder_;
};

TEST_F(Import, IsARowWithItsOwnBytesAndNoSpeed) {
  const RunResult run = Compare("base.gguf", {"--import", Path("other.gguf"), "--name", "other tool IQ4_NL"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  std::size_t imported = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "results")) {
    if (entry.path().extension() != ".json") continue;
    const json record = json::parse(*ReadFile(entry.path()));
    if (record["config"]["kind"] != "imported") continue;
    ++imported;
    EXPECT_EQ(record["config"]["id"], "other tool IQ4_NL");
    EXPECT_EQ(record["config"]["label"], "GGUF IQ4_NL");
    EXPECT_EQ(record["config"]["method"], "imported");
    // One layer of 64 x 64 (four) and 64 x 96 (three) weights, 18 bytes for every 32.
    const std::uint64_t weights = 4 * 64 * 64 + 3 * 64 * 96;
    EXPECT_EQ(record["size"]["quantized_parameters"], weights);
    EXPECT_EQ(record["size"]["quantized_tensor_bytes"], weights / 32 * 18);
    EXPECT_TRUE(!record.contains("throughput") || record["throughput"].is_null());
    // The baseline is the same weights, rounded to 16 bits.
    EXPECT_EQ(record["divergence"]["windows"], 23);
    for (const double kl : record["divergence"]["window_kl"]) EXPECT_LT(kl / 127, 1e-4);
  }
  EXPECT_EQ(imported, 1u);
  const RunResult again = Compare("base.gguf", {"--import", Path("other.gguf"), "--name", "other tool IQ4_NL"});
  EXPECT_NE(again.out.find("measured already"), std::string::npos);
  EXPECT_NE(again.out.find("0 of 3 rows"), std::string::npos) << again.out;

  const RunResult report = RunProgram({"report", "generate", Path("results"), "-o", Path("report")});
  ASSERT_EQ(report.exit_code, 0) << report.err;
  const std::string page = *ReadFile(folder_ / "report/RESULTS.md");
  EXPECT_NE(page.find("other tool IQ4_NL"), std::string::npos);
  EXPECT_NE(page.find("made by another program"), std::string::npos);
  EXPECT_NE(page.find("Imported: other tool IQ4_NL. Another program quantized this file"), std::string::npos) << page;
}

TEST_F(Import, OfAnotherModelIsRefused) {
  const RunResult run = Compare("model", {"--import", Path("other.gguf")});
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_NE(run.err.find("other.gguf was not made from this model: layers 1, want 2"), std::string::npos) << run.err;
  EXPECT_FALSE(fs::exists(folder_ / "results"));
}

TEST_F(Import, OfOtherWeightsInTheSameShapeIsRefused) {
  // The last tensor is ffn_down: blocks of a scale in 2 bytes and codes in 16.
  constexpr std::size_t kBlock = 18;
  std::string bytes = *ReadFile(folder_ / "other.gguf");
  Rng rng(7);
  for (std::size_t at = bytes.size() - 64 * 96 / 32 * kBlock; at < bytes.size(); at += kBlock) {
    for (std::size_t i = 2; i < kBlock; ++i) bytes[at + i] = static_cast<char>(rng.Below(256));
  }
  ASSERT_TRUE(WriteFileAtomic(folder_ / "other.gguf", bytes).ok());
  const RunResult run = Compare("base.gguf", {"--import", Path("other.gguf")});
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_NE(run.err.find("model.layers.0.mlp.down_proj.weight differs in direction"), std::string::npos) << run.err;
}

TEST_F(Import, NeedsAFileOfGgufAndNamesOfItsOwn) {
  const RunResult folder = Compare("base.gguf", {"--import", Path("model")});
  EXPECT_EQ(folder.exit_code, 3);
  EXPECT_NE(folder.err.find("is not a GGUF file"), std::string::npos) << folder.err;
  const RunResult nameless = Compare("base.gguf", {"--name", "x"});
  EXPECT_EQ(nameless.exit_code, 2);
  EXPECT_NE(nameless.err.find("--name"), std::string::npos) << nameless.err;
  const RunResult twice = Compare("base.gguf", {"--import", Path("other.gguf"), "--import", Path("other.gguf")});
  EXPECT_EQ(twice.exit_code, 2);
  EXPECT_NE(twice.err.find("two imported files are called"), std::string::npos) << twice.err;
}

}  // namespace
}  // namespace marlin
