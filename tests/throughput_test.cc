// bench throughput as a user runs it, on a tiny model. No test looks at a speed.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/test_text.h"
#include "tests/program.h"
#include "tests/tiny_gguf.h"
#include "tests/tiny_model.h"

namespace marlin {
namespace {
using nlohmann::json;

class Throughput : public testing::Test {
 protected:
  void SetUp() override {
    WriteTinyModel(folder_ / "model");
    model_ = (folder_ / "model").string();
  }

  // The models timed in two runs of each test.
  RunResult Run(const std::vector<std::string>& models, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words = {"bench", "throughput"};
    words.insert(words.end(), models.begin(), models.end());
    words.insert(words.end(), {"-p", prompt_, "-n", generate_, "-r", "2", "--no-limits", "-q"});
    words.insert(words.end(), more.begin(), more.end());
    return RunProgram(words);
  }

  json Rows(const std::vector<std::string>& models, std::vector<std::string> more = {}) {
    more.emplace_back("--json");
    const RunResult run = Run(models, more);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return json::parse(run.out, nullptr, false)["rows"];
  }

  void ExpectFailure(const RunResult& run, int code, const std::vector<std::string>& words) {
    EXPECT_EQ(run.exit_code, code) << run.err;
    for (const std::string& word : words) EXPECT_TRUE(Has(run.err, word)) << run.err;
    EXPECT_EQ(run.out, "");
  }

  TemporaryFolder folder_;
  std::string model_;
  std::string prompt_ = "16";
  std::string generate_ = "4";
};

TEST_F(Throughput, AFolderAGgufAndAQuantizedFolderTakeTurns) {
  const std::string gguf = (folder_ / "tiny.gguf").string();
  WriteTinyGguf(gguf);
  const std::string quantized = (folder_ / "quantized").string();
  ASSERT_EQ(RunProgram({"quantize", model_, "--config", "fp4-g64", "-o", quantized, "-q"}).exit_code, 0);
  const json rows = Rows({model_, gguf, quantized});
  ASSERT_EQ(rows.size(), 6u);
  const std::vector<std::string> weights = {"f16 (BF16 weights)", "f16 (dequantized from IQ4_NL)", "fp4-g64"};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const json& row = rows[i];
    EXPECT_EQ(row["weights"], weights[i / 2]);
    EXPECT_EQ(row["test"], i % 2 == 0 ? "pp16" : "tg4");
    EXPECT_EQ(row["tokens"], i % 2 == 0 ? 16 : 4);
    EXPECT_EQ(row["samples_ns"].size(), 2u);
    EXPECT_TRUE(row["limit_share"].is_null()) << "not measured is never a number";
    EXPECT_EQ(row["gflops"].is_number(), i % 2 == 0);
    EXPECT_EQ(row["gbps"].is_number(), i % 2 == 1);
    EXPECT_FALSE(row["kernels"].get<std::string>().empty());
  }
}

// What is rounded in memory weighs, token by token, what the folder made by quantize weighs.
TEST_F(Throughput, RoundingInMemoryIsThatOfQuantize) {
  const json rows = Rows({model_}, {"-c", "f16,int4-g64", "--config", "int4-g64", "--quantize-embeddings"});
  ASSERT_EQ(rows.size(), 6u);
  EXPECT_EQ(rows[1]["weights"], "f16 (BF16 weights)");
  EXPECT_EQ(rows[3]["weights"], "int4-g64 +embedding");
  const auto bytes = [](const json& row) { return row["weight_bytes_per_token"].get<int>(); };
  EXPECT_LT(bytes(rows[3]), bytes(rows[1]) / 3);
  const std::string quantized = (folder_ / "quantized").string();
  for (const bool embeddings : {false, true}) {
    std::vector<std::string> words = {"quantize", model_, "--config", "int4-g64", "-o", quantized, "--overwrite", "-q"};
    std::vector<std::string> more = {"-c", "int4-g64"};
    if (embeddings) words.emplace_back("--quantize-embeddings");
    if (embeddings) more.emplace_back("--quantize-embeddings");
    ASSERT_EQ(RunProgram(words).exit_code, 0);
    EXPECT_EQ(bytes(Rows({model_}, more)[1]), bytes(Rows({quantized})[1])) << embeddings;
  }
}

TEST_F(Throughput, OutputIsMarkdownCsvOrJson) {
  const RunResult markdown = RunProgram({"bench", "throughput", model_, "-p", "8", "-n", "2", "-r", "2"});
  EXPECT_EQ(markdown.exit_code, 0) << markdown.err;
  EXPECT_TRUE(Has(markdown.out, "| model | weights | threads | test |")) << markdown.out;
  EXPECT_TRUE(Has(markdown.out, " GB/s read, ")) << markdown.out;
  EXPECT_TRUE(Has(markdown.out, " % of read bandwidth of memory; fits in cache |")) << markdown.out;
  EXPECT_TRUE(Has(markdown.out, " peak |")) << markdown.out;
  EXPECT_TRUE(Has(Run({model_}).out, "| not measured |"));
  const RunResult csv = Run({model_}, {"--output", "csv"});
  EXPECT_EQ(csv.out.rfind("model,path,weights,", 0), 0u) << csv.out;
  EXPECT_EQ(std::count(csv.out.begin(), csv.out.end(), '\n'), 3);
  const json document = json::parse(Run({model_}, {"--output", "json"}).out, nullptr, false);
  EXPECT_EQ(document["rows"].size(), 2u);
  EXPECT_FALSE(document["commit"].get<std::string>().empty());
  EXPECT_TRUE(document["limits"].is_null());
}

TEST_F(Throughput, ATestOfNoTokensIsLeftOut) {
  generate_ = "0";
  EXPECT_EQ(Rows({model_}).size(), 1u);
  prompt_ = "0";
  ExpectFailure(Run({model_}), 2, {"--prompt", "--generate"});
  generate_ = "4";
  EXPECT_EQ(Rows({model_})[0]["test"], "tg4");
}

TEST_F(Throughput, ErrorsNameFileGotAndWant) {
  ExpectFailure(Run({model_}, {"-c", "fp4-g17"}), 2, {"fp4-g17", "fp4-g128"});
  ExpectFailure(Run({model_}, {"--quantize-embeddings"}), 2, {"--config", "fp4-g128"});
  ExpectFailure(Run({model_}, {"-c", "fp4-g32", "--quantize-head"}), 2, {model_, "--quantize-embeddings"});
  ExpectFailure(Run({(folder_ / "none").string()}), 3, {"none"});
  const std::string quantized = (folder_ / "quantized").string();
  ASSERT_EQ(RunProgram({"quantize", model_, "--config", "fp4-g64", "-o", quantized, "-q"}).exit_code, 0);
  ExpectFailure(Run({quantized}, {"-c", "int4-g64"}), 3, {quantized, "already quantized", "fp4-g64", "int4-g64"});
  prompt_ = "100000";
  ExpectFailure(Run({model_}), 2, {model_, "100000", "--prompt"});
}

}  // namespace
}  // namespace marlin
