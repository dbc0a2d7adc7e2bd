// metal-marlin compare in continuous integration, on the records of this repository.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "tests/program.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

const std::string kResults = MARLIN_SOURCE_DIR "/examples/minnow/results";

// A copy of the records in which every perplexity is `factor` times as high and no divergence is measured.
void WorsenRecords(const fs::path& folder, double factor) {
  fs::create_directories(folder);
  for (const auto& entry : fs::directory_iterator(kResults)) {
    if (entry.path().extension() != ".json") continue;
    json record = json::parse(*ReadFile(entry.path()));
    if (!record["noise_floor"].is_null()) continue;
    for (const char* field : {"summary", "divergence"}) record.erase(field);
    if (json& perplexity = record["perplexity"]; !perplexity.is_null()) {
      const double nats = std::log(factor) * perplexity["scored_per_window"].get<double>();
      for (json& sum : perplexity["window_nll"]) sum = sum.get<double>() + nats;
    }
    ASSERT_TRUE(WriteFileAtomic(folder / entry.path().filename(), record.dump()).ok());
  }
}

// A copy of the records whose times vary by a hundredth: those of a loaded machine may all be unstable.
void SteadyRecords(const fs::path& folder) {
  fs::create_directories(folder);
  for (const auto& entry : fs::directory_iterator(kResults)) {
    if (entry.path().extension() != ".json") continue;
    json record = json::parse(*ReadFile(entry.path()));
    record.erase("summary");
    if (record.contains("throughput") && record["throughput"].is_object()) {
      for (const char* phase : {"prefill", "decode"}) {
        json& samples = record["throughput"][phase]["samples_ns"];
        for (std::size_t i = 0; i < samples.size(); ++i) samples[i] = i % 2 == 0 ? 1000000 : 1010000;
      }
    }
    ASSERT_TRUE(WriteFileAtomic(folder / entry.path().filename(), record.dump()).ok());
  }
}

void MakeOneUnstable(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    json record = json::parse(*ReadFile(entry.path()));
    if (!record.contains("throughput") || !record["throughput"].is_object()) continue;
    json& samples = record["throughput"]["prefill"]["samples_ns"];
    for (std::size_t i = 0; i < samples.size(); ++i) samples[i] = i % 2 == 0 ? 1000000 : 2000000;
    ASSERT_TRUE(WriteFileAtomic(entry.path(), record.dump()).ok());
    return;
  }
}

TEST(CompareVerb, ExitCodesOfAGate) {
  const TemporaryFolder folder;
  const std::string worse = (folder / "worse").string();
  const std::string empty = (folder / "empty").string();
  fs::create_directories(empty);
  WorsenRecords(worse, 1.02);

  const std::string steady = (folder / "steady").string();
  SteadyRecords(steady);

  RunResult run = RunProgram({"compare", steady, steady, "--max-ppl-delta", "0", "--max-slowdown", "0", "-q"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_NE(run.out.find("no measurable difference"), std::string::npos);

  run = RunProgram({"compare", kResults, worse});
  EXPECT_EQ(run.exit_code, 0) << "no limit, no failure: " << run.err;
  EXPECT_NE(run.out.find("+2.00 [+2.00, +2.00]  worse"), std::string::npos) << run.out;

  EXPECT_EQ(RunProgram({"compare", kResults, worse, "--max-ppl-delta", "2.1"}).exit_code, 0);
  run = RunProgram({"compare", kResults, worse, "--max-ppl-delta", "1.9", "--json"});
  EXPECT_EQ(run.exit_code, 6);
  EXPECT_NE(run.err.find("limit exceeded: "), std::string::npos) << run.err;
  EXPECT_EQ(json::parse(run.out)["exceeded"], true);
  EXPECT_EQ(RunProgram({"compare", worse, kResults, "--max-ppl-delta", "0"}).exit_code, 0);

  const std::string partly = (folder / "partly").string();
  SteadyRecords(partly);
  MakeOneUnstable(partly);
  run = RunProgram({"compare", steady, partly, "--max-slowdown", "1000"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_NE(run.err.find("have no interval of their time of prefill and were not tested against it: "),
            std::string::npos)
      << run.err;

  run = RunProgram({"compare", worse, worse, "--max-kl", "1"});
  EXPECT_EQ(run.exit_code, 3) << "a limit on what was not measured";
  EXPECT_NE(run.err.find("--max-kl"), std::string::npos) << run.err;

  run = RunProgram({"compare", kResults, empty});
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_NE(run.err.find("nothing can be compared"), std::string::npos) << run.err;
  EXPECT_EQ(RunProgram({"compare", kResults, (folder / "missing").string()}).exit_code, 3);
}

TEST(CompareVerb, BadLimitsAreUsage) {
  for (const char* limit : {"-1", "many", "nan", "inf"}) {
    EXPECT_EQ(RunProgram({"compare", kResults, kResults, "--max-kl", limit}).exit_code, 2) << limit;
  }
  EXPECT_EQ(RunProgram({"compare", kResults}).exit_code, 2);
}

}  // namespace
}  // namespace marlin
