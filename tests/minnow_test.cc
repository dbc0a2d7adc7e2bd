// minnow from end to end: tests that need a trained model, because random weights have nothing to lose.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "base/rng.h"
#include "base/statistics.h"
#include "kernels/device.h"
#include "tests/program.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

json RunJson(std::vector<std::string> words) {
  words.insert(words.end(), {"--json", "-q"});
  const RunResult run = RunProgram(words);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  return json::parse(run.out, nullptr, false);
}

double Perplexity(const std::string& model, const std::string& activations) {
  const json measured =
      RunJson({"eval", "perplexity", model, "--data", "built-in", "--samples", "8", "--activations", activations});
  EXPECT_EQ(measured["windows"], 8);
  EXPECT_EQ(measured["windows_total"], 74);
  return measured["ppl"].get<double>();
}

// What rounding activations to bf16, the default of measurements, may move a perplexity by: 0.05 %.
constexpr double kBf16Limit = 5e-4;

TEST(Minnow, EveryConfigurationKeepsItsPerplexity) {
  // ppl-512 over the first 8 windows of the sample text, computed by a program of its own in NumPy, which rounds the
  // weights too (docs/verification.md). Instruction sets sum in different orders: that moves them by less than 1e-5.
  constexpr double kBaseline = 23.12107;
  const std::map<std::string, double> stored = {{"fp4-g32", 23.60640},  {"fp4-g64", 23.53167},  {"fp4-g128", 23.61142},
                                                {"fp4-g256", 23.55489}, {"int4-g64", 23.53935}, {"int4-g128", 23.73438},
                                                {"int8-g128", 23.12795}};
  EXPECT_NEAR(Perplexity(kMinnow, "fp32") / kBaseline, 1, 1e-4);
  EXPECT_NEAR(Perplexity(kMinnow, "bf16") / kBaseline, 1, kBf16Limit);
  const TemporaryFolder folder;
  for (const auto& [config, want] : stored) {
    const std::string out = (folder / config).string();
    ASSERT_EQ(RunProgram({"quantize", kMinnow, "--config", config, "-o", out, "-q"}).exit_code, 0) << config;
    const double measured = Perplexity(out, "fp32");
    EXPECT_NEAR(measured / want, 1, 1e-3) << config << " " << measured;
    EXPECT_NEAR(Perplexity(out, "bf16") / measured, 1, kBf16Limit) << config;
  }
}

// Perplexity does not tell these two apart on few windows. The divergence from the baseline does.
TEST(Minnow, FinerGroupsDivergeLess) {
  const TemporaryFolder folder;
  std::map<std::string, std::vector<double>> window_kl;
  for (const std::string config : {"fp4-g32", "fp4-g256"}) {
    const std::string out = (folder / config).string();
    ASSERT_EQ(RunProgram({"quantize", kMinnow, "--config", config, "-o", out, "-q"}).exit_code, 0) << config;
    const json measured = RunJson({"eval", "divergence", out, "--baseline", kMinnow, "--data", "built-in", "--samples",
                                   "8", "--floor-windows", "0"});
    EXPECT_FALSE(measured.contains("noise_floor"));
    window_kl[config] = measured["divergence"]["window_kl"].get<std::vector<double>>();
    ASSERT_EQ(window_kl[config].size(), 8u);
  }
  std::vector<double> difference = window_kl["fp4-g256"];
  for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= window_kl["fp4-g32"][i];
  const MeanEstimate more = EstimateMean(difference, std::vector<double>(8, 511));
  EXPECT_GT(more.mean, 0);
  ASSERT_TRUE(more.mean_95.has_value());
  EXPECT_GT(more.mean_95->low, 0);
}

std::vector<std::string> Words(const std::string& text) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    if (std::isalpha(static_cast<unsigned char>(c)) != 0) {
      words.back() += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

TEST(Minnow, WritesReadableWords) {
  // The words that any English prose is made of: a model that lost its weights hits them by chance only.
  const std::set<std::string> common = {
      "the",  "of",    "and",  "to",   "a",     "in",  "that", "is",    "was",   "he",   "for",  "it",
      "with", "as",    "his",  "on",   "be",    "at",  "by",   "had",   "not",   "but",  "from", "have",
      "are",  "which", "you",  "were", "her",   "all", "she",  "they",  "their", "an",   "we",   "been",
      "i",    "him",   "this", "or",   "would", "my",  "so",   "there", "who",   "them", "shall"};
  const TemporaryFolder folder;
  const std::string quantized = (folder / "fp4-g128").string();
  ASSERT_EQ(RunProgram({"quantize", kMinnow, "-o", quantized, "-q"}).exit_code, 0);
  for (const std::string& model : {kMinnow, quantized}) {
    const json generated = RunJson({"generate", model, "-p", "The captain of the ship", "-n", "80"});
    const auto words = Words(generated["text"].get<std::string>());
    ASSERT_GE(words.size(), 30u) << generated["text"];
    const auto hits =
        std::count_if(words.begin(), words.end(), [&](const auto& word) { return common.contains(word); });
    EXPECT_GT(static_cast<double>(hits), 0.3 * static_cast<double>(words.size())) << generated["text"];
  }
}

// Names of finished records and what a rerun must reproduce of them.
std::map<std::string, json> Records(const fs::path& folder) {
  std::map<std::string, json> records;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(folder, code)) {
    const std::string name = entry.path().filename().string();
    if (name[0] == '.') continue;
    const json record = json::parse(*ReadFile(entry.path()));
    json perplexity = record["perplexity"];
    if (!perplexity.is_null()) perplexity.erase("seconds");
    records[name] = {{"key", record["key"]},
                     {"perplexity", perplexity},
                     {"divergence", record["divergence"]},
                     {"noise_floor", record["noise_floor"]},
                     {"model", record["model"]}};
  }
  return records;
}

// Records name the version of the arithmetic that computed them, and records of one version must have the same bits. An
// order of summation that changes moves these sums in the 9th digit.
TEST(Minnow, TheArithmeticIsThatOfItsVersion) {
  static_assert(kArithmeticVersion == 1, "a new version has new sums: write them below");
  const std::pair<const char*, double> sums[] = {{"scalar", 1459.856976231445}, {"avx2", 1459.856910414692}};
  for (const auto& [isa, want] : sums) {
    const RunResult run = RunProgram({"eval", "perplexity", kMinnow, "--data", "built-in", "--samples", "1", "--isa",
                                      isa, "--activations", "fp32", "--json", "-q"});
    if (run.exit_code == 5) GTEST_SKIP() << "this machine lacks " << isa;
    ASSERT_EQ(run.exit_code, 0) << run.err;
    EXPECT_NEAR(json::parse(run.out)["window_nll"][0].get<double>(), want, 1e-9 * want)
        << isa << ": if this change is meant, raise kArithmeticVersion, or old records pass for new ones";
  }
}

TEST(Minnow, AKilledSweepGoesOn) {
  const TemporaryFolder folder;
  const auto sweep = [&](const std::string& results, const RunOptions& options) {
    return RunProgram(
        {"bench", "comparison", "--model", kMinnow, "--data", "built-in", "--samples", "3", "--config", "fp4-g32",
         "--config", "int4-g128", "--results", (folder / results).string(), "--quick-timing", "--no-kernels", "-q"},
        options);
  };
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(sweep("whole", {}).exit_code, 0);
  const double whole = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  Rng rng(20261123);
  for (int kill = 0; kill < 4; ++kill) {
    RunOptions options;
    options.signal_after_seconds = whole * rng.Uniform();
    sweep("killed", options);
  }
  const RunResult last = sweep("killed", {});
  ASSERT_EQ(last.exit_code, 0) << last.err;
  const auto records = Records(folder / "whole");
  EXPECT_EQ(records.size(), 7u) << "quality and speed of three rows, and a noise floor";
  EXPECT_EQ(Records(folder / "killed"), records);
}

// Calibrated by gptq on a file of the repository.
std::vector<std::string> Gptq(const fs::path& out, const std::string& text, const std::string& threads = "2") {
  return {"quantize",
          kMinnow,
          "--config",
          "int4-g128",
          "--method",
          "gptq",
          "--calibration",
          std::string(MARLIN_SOURCE_DIR "/") + text,
          "--calibration-ctx",
          "128",
          "-o",
          out.string(),
          "--threads",
          threads,
          "-q"};
}

std::string WeightsIn(const fs::path& folder) { return *ReadFile(folder / "model.safetensors"); }

TEST(Minnow, CalibrationDecidesTheWeightsAndThreadsDoNot) {
  const TemporaryFolder folder;
  ASSERT_EQ(RunProgram(Gptq(folder / "one", "LICENSE", "1")).exit_code, 0);
  ASSERT_EQ(RunProgram(Gptq(folder / "two", "LICENSE", "2")).exit_code, 0);
  EXPECT_EQ(WeightsIn(folder / "one"), WeightsIn(folder / "two"));
  ASSERT_EQ(RunProgram(Gptq(folder / "other", "README.md")).exit_code, 0);
  EXPECT_NE(WeightsIn(folder / "one"), WeightsIn(folder / "other"));
  const json config = json::parse(*ReadFile(folder / "one" / "config.json"));
  const json calibration = config["quantization_config"]["metal_marlin"]["calibration"];
  EXPECT_EQ(calibration["text"], "LICENSE");
  EXPECT_EQ(calibration["ctx"], 128);
}

TEST(Minnow, AKilledCalibrationGoesOnAfterTheLastLayer) {
  const TemporaryFolder folder;
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(RunProgram(Gptq(folder / "whole", "LICENSE")).exit_code, 0);
  const double whole = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  Rng rng(4);
  for (int kill = 0; kill < 3; ++kill) {
    RunOptions options;
    options.signal_after_seconds = whole * rng.Uniform();
    RunProgram(Gptq(folder / "killed", "LICENSE"), options);
  }
  if (!fs::exists(folder / "killed")) {
    const RunResult last = RunProgram(Gptq(folder / "killed", "LICENSE"));
    ASSERT_EQ(last.exit_code, 0) << last.err;
  }
  EXPECT_EQ(WeightsIn(folder / "killed"), WeightsIn(folder / "whole"));
  EXPECT_FALSE(fs::exists(folder / "killed.part")) << "what was kept for the next run is gone";
}

TEST(Minnow, WindowsBeyondTheTrainedContextAreRefused) {
  const RunResult eval = RunProgram({"eval", "perplexity", kMinnow, "--data", "built-in", "--ctx", "1024", "-q"});
  EXPECT_EQ(eval.exit_code, 2) << eval.err;
  EXPECT_NE(eval.err.find("512"), std::string::npos) << eval.err;
  const RunResult bench =
      RunProgram({"bench", "comparison", "--model", kMinnow, "--data", "built-in", "--ctx", "1024", "--dry-run", "-q"});
  EXPECT_EQ(bench.exit_code, 2) << bench.err;
}

TEST(Minnow, OneSweepTimesAllMethodsTogether) {
  const TemporaryFolder folder;
  const RunResult run = RunProgram({"bench",
                                    "comparison",
                                    "--model",
                                    kMinnow,
                                    "--data",
                                    "built-in",
                                    "--samples",
                                    "2",
                                    "--config",
                                    "int4-g128",
                                    "--method",
                                    "rtn",
                                    "--method",
                                    "gptq",
                                    "--calibration",
                                    MARLIN_SOURCE_DIR "/LICENSE",
                                    "--calibration-ctx",
                                    "128",
                                    "--results",
                                    (folder / "results").string(),
                                    "--quick-timing",
                                    "--no-kernels",
                                    "-q"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  std::map<std::string, json> by_method;
  for (const auto& entry : fs::directory_iterator(folder / "results")) {
    if (entry.path().filename().string()[0] == '.') continue;
    const json record = json::parse(*ReadFile(entry.path()));
    if (record["perplexity"].is_null()) continue;  // speeds and noise floor have records of their own
    by_method[record["config"]["method"]] = record;
  }
  ASSERT_EQ(by_method.size(), 3u);
  EXPECT_FALSE(by_method["rtn"]["config"].contains("calibration") &&
               !by_method["rtn"]["config"]["calibration"].is_null());
  EXPECT_EQ(by_method["gptq"]["config"]["calibration"]["name"], "LICENSE");
  EXPECT_NE(by_method["gptq"]["perplexity"]["window_nll"], by_method["rtn"]["perplexity"]["window_nll"]);
}

TEST(Minnow, CalibrationIsRefusedWhereItMeansNothing) {
  const TemporaryFolder folder;
  const auto code = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"quantize", kMinnow, "-q", "-o", (folder / "out").string()});
    return RunProgram(words).exit_code;
  };
  const std::string license = MARLIN_SOURCE_DIR "/LICENSE";
  EXPECT_EQ(code({"--method", "rtn", "--calibration", license}), 2);
  EXPECT_EQ(code({"--method", "gptq"}), 2);
  EXPECT_EQ(code({"--method", "gptq", "--calibration", "no-such-text"}), 3);
  EXPECT_EQ(code({"--method", "gptq", "--calibration", MARLIN_SOURCE_DIR "/.gitignore"}), 3) << "too short";
  EXPECT_EQ(code({"--method", "gptq", "--calibration", MARLIN_SOURCE_DIR "/data/sample/sample.txt"}), 3) << "overlap";
  const std::string stats = (folder / "stats").string();
  ASSERT_EQ(RunProgram({"calibrate", kMinnow, "--data", license, "--ctx", "128", "-o", stats, "-q"}).exit_code, 0);
  EXPECT_EQ(code({"--method", "gptq", "--stats", stats}), 2) << "collected without --full-gram";
  EXPECT_FALSE(fs::exists(folder / "out"));
  EXPECT_EQ(code({"--method", "mse", "--stats", stats}), 0);
}

}  // namespace
}  // namespace marlin
