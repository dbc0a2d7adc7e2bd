// bench kernels as a user runs it, on the layers of a tiny model. No test looks at a speed.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/test_text.h"
#include "tests/program.h"
#include "tests/tiny_model.h"

namespace marlin {
namespace {
using nlohmann::json;

class BenchKernels : public testing::Test {
 protected:
  void SetUp() override {
    WriteTinyModel(folder_ / "model");
    model_ = (folder_ / "model").string();
  }

  void ExpectFailure(const RunResult& run, int code, const std::vector<std::string>& words) {
    EXPECT_EQ(run.exit_code, code) << run.err;
    for (const std::string& word : words) EXPECT_TRUE(Has(run.err, word)) << run.err;
    EXPECT_EQ(run.out, "");
  }

  TemporaryFolder folder_;
  std::string model_;
};

TEST_F(BenchKernels, LayersOfAModelAreTimedAtEveryNumberOfTokens) {
  const std::vector<std::string> words = {"bench", "kernels",   "-m", model_,          "-f", "fp4-g32", "--tokens",
                                          "1,3",   "--threads", "1",  "--quick-timing"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = words;
    all.insert(all.end(), more.begin(), more.end());
    return RunProgram(all);
  };
  const RunResult run = with({"--json", "-q"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const json kernels = json::parse(run.out)["kernels"];
  EXPECT_EQ(kernels.size(), 4 * 2u) << "q and o, k and v, gate and up, down, at two numbers of tokens";
  for (const json& row : kernels) {
    EXPECT_FALSE(row["activation"].get<std::string>().empty());
    EXPECT_GT(row["limit_share"].get<double>(), 0);
    EXPECT_GT(row["max_error"].get<double>(), 0) << "checked before it was timed";
    EXPECT_FALSE(row.contains("reference")) << "only devices with yardsticks are compared with a library";
  }
  EXPECT_FALSE(json::parse(run.out).contains("device"));
  ExpectFailure(with({"--plot", "roof.jpg"}), 2, {"roof.jpg", ".png"});
  ExpectFailure(with({"--shapes", "page"}), 2, {"--shapes"});
  ExpectFailure(RunProgram({"bench", "kernels", "--shapes", "llama4"}), 2, {"llama4", "llama3-8b", "gpu"});
  ExpectFailure(with({"--shared-input"}), 2, {"--shared-input", "cuda"});
#if defined(MARLIN_X86)
  ExpectFailure(RunProgram({"bench", "kernels", "--explain", "-f", "fp4-g128", "--kernel", "avx2/int4"}), 2,
                {"avx2/int4", "int4 weights"});
#endif
}

TEST_F(BenchKernels, OnAGpuRunsAreReplayedBesideItsLibrary) {
  std::vector<std::string> words = {"bench",          "kernels", "--device", "cuda",      "--shapes",
                                    "smollm2-135m",   "-f",      "fp4-g128", "--tokens",  "1,32",
                                    "--quick-timing", "--json",  "-q",       "--threads", "2"};
  for (const bool shared : {false, true}) {
    if (shared) words.emplace_back("--shared-input");
    const RunResult run = RunProgram(words);
    if (run.exit_code == 5) GTEST_SKIP() << run.err;
    ASSERT_EQ(run.exit_code, 0) << run.err;
    const json document = json::parse(run.out);
    EXPECT_GT(document["limits"]["read_gbps"].get<double>(), 0);
    EXPECT_GT(document["limits"]["fp16_gflops"].get<double>(), 0);
    const json& device = document["device"];
    EXPECT_FALSE(device["hardware"].get<std::string>().empty());
    for (const char* state : {"state_before", "state_working", "state_after"}) {
      EXPECT_TRUE(device[state].contains("driver")) << state;
    }
    EXPECT_EQ(document["kernels"].size(), 4 * 2u);
    for (const json& row : document["kernels"]) {
      EXPECT_TRUE(row["replayed"].get<bool>()) << row["kernel"];
      EXPECT_GT(row["products_per_sample"].get<int>(), 1);
      EXPECT_EQ(row["reference"]["name"], "cuBLAS FP16");
      EXPECT_GT(row["reference"]["times_as_fast"].get<double>(), 0);
    }
  }
}

TEST_F(BenchKernels, TheWalkIsThatOfTheFormatsOwnRows) {
  const RunResult run = RunProgram({"bench", "kernels", "--explain", "-f", "fp4-g128,int8-g128", "--json", "-q"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const json formats = json::parse(run.out);
  ASSERT_EQ(formats.size(), 2u);
  for (const json& format : formats) {
    const std::string family =
        format["format"].get<std::string>().substr(0, format["format"].get<std::string>().find('-'));
    int chosen = 0;
    for (const json& row : format["walk"]) {
      EXPECT_TRUE(Has(row["kernel"], family) || Has(row["kernel"], "/any")) << row;
      chosen += row["chosen"].get<bool>() ? 1 : 0;
    }
    EXPECT_EQ(chosen, 1);
  }
}

TEST_F(BenchKernels, PlotsAreFiles) {
  const std::string roof = (folder_ / "roof.svg").string();
  const std::string tokens = (folder_ / "tokens.svg").string();
  std::vector<std::string> words = {"bench",   "kernels",        "-m",     model_, "-f",
                                    "fp4-g32", "--quick-timing", "--plot", roof,   "--plot-tokens",
                                    tokens,    "--tokens",       "1,3",    "-q"};
  const RunResult run = RunProgram(words);
  if (run.exit_code == 5) GTEST_SKIP() << run.err;
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_TRUE(Has(*ReadFile(roof), "fp4-g32"));
  EXPECT_TRUE(Has(*ReadFile(tokens), "time(m) / time(1)"));
  words[words.size() - 2] = "3";
  ExpectFailure(RunProgram(words), 2, {"--tokens"});
}

}  // namespace
}  // namespace marlin
