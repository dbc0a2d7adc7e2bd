// The comparison and the report. A comparison that is killed anywhere and run again gives the records of an undisturbed
// run.
#include "tests/comparison.h"

#include <fmt/format.h>

#include <chrono>
#include <csignal>

#include "base/rng.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

TEST_F(Comparison, DryRunWritesNothing) {
  const RunResult run = RunProgram(Command("results", {"--dry-run"}));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_NE(run.out.find(fmt::format("{0} of {0} rows", kRows)), std::string::npos) << run.out;
  EXPECT_FALSE(fs::exists(folder_ / "results"));
}

TEST_F(Comparison, AModelThatIsNamedTwiceIsMeasuredOnce) {
  fs::create_directory_symlink(folder_ / "model", folder_ / "link");
  fs::copy(folder_ / "model", folder_ / "copy");
  const auto ids = [&](const std::vector<std::string>& command) {
    std::vector<std::string> list;
    for (const json& job : Jobs(command)) list.push_back(job["id"]);
    return list;
  };
  const std::vector<std::string> once = ids(Command("results"));
  EXPECT_GT(once.size(), kRows);
  for (const char* other : {"model", "link", "copy"}) {
    const std::string path = (folder_ / other).string();
    const std::vector<std::string> command = Command("results", {"--model", path});
    EXPECT_EQ(ids(command), once) << other;
    std::vector<std::string> dry = command;
    dry.emplace_back("--dry-run");
    const RunResult run = RunProgram(dry);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_NE(run.err.find(path + " is a model that was named before it"), std::string::npos) << run.err;
  }
}

TEST_F(Comparison, RecordsDoNotGoAmongAModelsFiles) {
  fs::create_directories(folder_ / "results");
  ASSERT_TRUE(WriteFileAtomic(folder_ / "results" / "SHA256SUMS", "").ok());
  const RunResult run = RunProgram(Command("results", {}));
  EXPECT_EQ(run.exit_code, 3) << run.err;
  EXPECT_NE(run.err.find("is the folder of a model (it contains SHA256SUMS)"), std::string::npos) << run.err;
}

// Quality on one device, speeds on another: the page shows both in one row.
TEST_F(Comparison, SpeedsOfAnotherDevice) {
  const std::vector<std::string> other = {"--timing-device", "reference", "--config", "fp4-g32"};
  ASSERT_EQ(RunProgram(Command("results", {"--no-timing", "--config", "fp4-g32"})).exit_code, 0);
  const RunResult run = RunProgram(Command("results", other));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  for (const auto& [name, record] : RecordsOf("perplexity", "results")) {
    EXPECT_TRUE(record["perplexity"]["arithmetic"].get<std::string>().starts_with("cpu/")) << name;
  }
  const auto speeds = RecordsOf("throughput", "results");
  EXPECT_EQ(speeds.size(), 2u);
  for (const auto& [name, record] : speeds) {
    EXPECT_EQ(record["throughput"]["backend"], "reference") << name;
    EXPECT_TRUE(record["throughput"]["arithmetic"].get<std::string>().starts_with("reference")) << name;
    EXPECT_TRUE(record["machine"]["activations"].is_null()) << name;
  }
  // Asked again, everything is there.
  const RunResult again = RunProgram(Command("results", other));
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(again.err.find("timed"), std::string::npos) << again.err;
  const RunResult both = RunProgram(Command("results", {"--timing-device", "reference", "--no-timing"}));
  EXPECT_EQ(both.exit_code, 2) << both.err;
}

TEST_F(Comparison, EveryRowAndAReport) {
  const RunResult run = RunProgram(Command("results"));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto records = Records("results");
  ASSERT_EQ(records.size(), 2 * kRows + 1) << "quality and speed of every row, and one noise floor";
  const auto floors = RecordsOf("noise_floor", "results");
  ASSERT_EQ(floors.size(), 1u);
  EXPECT_LT(floors.begin()->second["noise_floor"]["window_kl"][0], 511 * 2e-5);  // activations in bf16 against fp32
  const auto speeds = RecordsOf("throughput", "results");
  ASSERT_EQ(speeds.size(), kRows);
  for (const auto& [name, record] : speeds) {
    const json& timed = record["throughput"];
    EXPECT_EQ(timed["protocol"]["id"], "quick-2/8") << name;
    EXPECT_EQ(timed["prefill"]["samples_ns"].size(), 8u) << name;
    EXPECT_EQ(timed["decode"]["protocol"]["id"], "quick-10/60") << name;
    EXPECT_EQ(timed["decode"]["protocol"]["iterations"], 60) << name;
    EXPECT_EQ(timed["decode"]["samples_ns"].size(), 60u) << name;
    EXPECT_EQ(timed["run"], speeds.begin()->second["throughput"]["run"]) << name;
    EXPECT_EQ(timed["run"].get<std::string>().size(), 16u) << name;
    EXPECT_GT(record["size"]["peak_rss_decode_bytes"], 0) << name;
    EXPECT_EQ(record["program"]["binary_sha256"].get<std::string>().size(), 64u) << name;
  }
  const auto qualities = RecordsOf("perplexity", "results");
  ASSERT_EQ(qualities.size(), kRows);
  for (const auto& [name, record] : qualities) {
    EXPECT_EQ(record["perplexity"]["windows"], 23) << name;
    EXPECT_TRUE(record["perplexity"]["arithmetic"].get<std::string>().ends_with(" v1")) << name;
    EXPECT_TRUE(record["throughput"].is_null()) << name;
    const bool baseline = record["config"]["kind"] == "baseline";
    EXPECT_EQ(record["divergence"].is_null(), baseline) << name;
    if (baseline) {
      EXPECT_EQ(floors.begin()->second["noise_floor"]["baseline_id"], record["id"]);
    } else {
      EXPECT_EQ(record["divergence"]["window_kl"].size(), 23u) << name;
      EXPECT_GT(record["summary"]["kl"], 1e-6) << name;
    }
    EXPECT_NE(record["command"].get<std::string>().find("bench comparison"), std::string::npos);
  }
  const RunResult again = RunProgram(Command("results"));
  EXPECT_NE(again.out.find(fmt::format("0 of {} rows", kRows)), std::string::npos) << again.out;
  EXPECT_EQ(Records("results"), records) << "finished rows are left alone";

  const std::string out = (folder_ / "report").string();
  const RunResult report = RunProgram({"report", "generate", (folder_ / "results").string(), "-o", out});
  ASSERT_EQ(report.exit_code, 0) << report.err;
  const std::string page = *ReadFile(fs::path(out) / "RESULTS.md");
  for (const char* word : {"fp4-g32", "int4-g128", "not measured", "text.txt"}) {
    EXPECT_NE(page.find(word), std::string::npos) << word;
  }
  EXPECT_EQ(page.find("WikiText-2 test,"), std::string::npos) << "the text is named as what it is";

  // The command on the page makes this very page again.
  const std::string update = "report generate " + (folder_ / "results").string() + " -o " + out;
  EXPECT_NE(page.find("`metal-marlin " + update + "`"), std::string::npos) << page.substr(0, 400);
  const RunResult beside = RunProgram({"report", "generate", (folder_ / "results").string()});
  ASSERT_EQ(beside.exit_code, 0) << beside.err;
  const std::string page_beside = *ReadFile(folder_ / "results" / "RESULTS.md");
  EXPECT_NE(page_beside.find("`metal-marlin report generate " + (folder_ / "results").string() + "`"),
            std::string::npos)
      << page_beside.substr(0, 400);
}

TEST_F(Comparison, KilledAnywhereItEndsWithTheSameRecords) {
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(RunProgram(Command("whole")).exit_code, 0);
  const double whole = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  Rng rng(static_cast<std::uint64_t>(start.time_since_epoch().count()));
  for (int kill = 0; kill < 20; ++kill) {
    RunOptions options;
    options.signal_after_seconds = whole * rng.Uniform();
    RunProgram(Command("killed"), options);
  }
  const RunResult last = RunProgram(Command("killed"));
  ASSERT_EQ(last.exit_code, 0) << last.err;
  ExpectSameRecords("killed", "whole");
  EXPECT_FALSE(fs::exists(folder_ / "killed" / ".work" / "claims"));
}

TEST_F(Comparison, MixedAndUniformFollowFromOnePlan) {
  std::string letters;
  for (int i = 0; i < 3200; ++i) letters += static_cast<char>('a' + (i * i / 7 + i) % 26);
  ASSERT_TRUE(WriteFileAtomic(folder_ / "calibration.txt", letters).ok());
  const std::vector<std::string> more = {"-c",
                                         "mixed",
                                         "-c",
                                         "uniform",
                                         "--budget",
                                         "5.2bpw",
                                         "--budget",
                                         "5.3bpw",
                                         "--method",
                                         "rtn",
                                         "--calibration",
                                         (folder_ / "calibration.txt").string(),
                                         "--calibration-ctx",
                                         "64"};
  auto dry = more;
  dry.emplace_back("--dry-run");
  const RunResult planned = RunProgram(Command("results", dry));
  ASSERT_EQ(planned.exit_code, 0) << planned.err;
  EXPECT_NE(planned.out.find("mixed (plan 2) to do, when plan 2 is made"), std::string::npos) << planned.out;
  const json jobs = Jobs(Command("results", more));
  const RunResult run = RunProgram(Command("results", more));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const json after = Jobs(Command("results", more));
  ASSERT_EQ(after.size(), jobs.size());
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    EXPECT_EQ(after[i]["id"], jobs[i]["id"]) << "an id does not depend on a plan that was made meanwhile";
    EXPECT_EQ(after[i]["state"], "done") << after[i]["name"];
  }
  std::size_t mixed = 0;
  std::size_t uniform = 0;
  for (const auto& [name, record] : RecordsOf("perplexity", "results")) {
    const json& config = record["config"];
    if (config["kind"] == "uniform") ++uniform;
    if (config["kind"] != "mixed") continue;
    ++mixed;
    EXPECT_EQ(config["plan_sha256"].get<std::string>().size(), 64u);
    EXPECT_LE(record["size"]["quantized_tensor_bytes"], config["budget_bytes"]);
    EXPECT_TRUE(config["calibration"].is_null()) << "rtn looks at no text";
    ASSERT_EQ(record["plan"]["units"].size(), 8u);
    std::uint64_t bytes = 0;
    for (const json& unit : record["plan"]["units"]) {
      EXPECT_GT(unit["probe_kl"], 0);
      if (unit["format"] != "16-bit") bytes += unit["bytes"].get<std::uint64_t>();
    }
    EXPECT_EQ(bytes, record["size"]["quantized_tensor_bytes"]);
    EXPECT_GT(record["summary"]["kl"], 1e-6);
  }
  EXPECT_EQ(mixed, 2u);
  EXPECT_GE(uniform, 1u);
  EXPECT_LE(uniform, 2u) << "the same configuration is not measured twice";
  const RunResult again = RunProgram(Command("results", more));
  EXPECT_NE(again.out.find(" 0 of "), std::string::npos) << again.out;
  EXPECT_EQ(again.out.find("held-out"), std::string::npos) << "plans are kept";
  const RunResult report = RunProgram({"report", "generate", (folder_ / "results").string()});
  ASSERT_EQ(report.exit_code, 0) << report.err;
  const std::string page = *ReadFile(folder_ / "results" / "RESULTS.md");
  EXPECT_NE(page.find("| [mixed 5."), std::string::npos) << page;

  EXPECT_EQ(RunProgram(Command("other", {"-c", "mixed"})).exit_code, 2) << "needs a text";
  EXPECT_EQ(RunProgram(Command("other", {"--budget", "5bpw"})).exit_code, 2) << "nothing to plan for";
}

// A baseline measured earlier has no hidden states any more; other files in their place are not used.
TEST_F(Comparison, ARowAddedLaterGetsTheSameDivergence) {
  ASSERT_EQ(RunProgram(Command("whole", {"-c", "fp4-g32", "-c", "int4-g64"})).exit_code, 0);
  ASSERT_EQ(RunProgram(Command("later", {"-c", "fp4-g32"})).exit_code, 0);
  const auto want = Records("whole");
  fs::create_directories(folder_ / "later" / ".work");
  for (const auto& [name, record] : want) {
    const std::string states = "states-" + record["id"].get<std::string>() + ".hidden";
    ASSERT_TRUE(WriteFileAtomic(folder_ / "later" / ".work" / states, "cut off").ok());
  }
  const RunResult added = RunProgram(Command("later", {"-c", "fp4-g32", "-c", "int4-g64"}));
  ASSERT_EQ(added.exit_code, 0) << added.err;
  EXPECT_NE(added.out.find("1 of 3 rows"), std::string::npos) << added.out;
  ExpectSameRecords("later", "whole");
}

TEST_F(Comparison, RecordsThatCannotBeWrittenStopTheJobsThatNeedThem) {
  fs::create_symlink(folder_ / "nowhere" / "at all", folder_ / "results");
  const RunResult run =
      RunProgram(Command("results", {"--work", (folder_ / "work").string(), "--samples", "4", "-c", "fp4-g32"}));
  EXPECT_EQ(run.exit_code, 3) << run.err;
  EXPECT_NE(
      run.err.find("not run, because they need a job that failed: noise floor of model, quality of model fp4-g32, "
                   "speed of model"),
      std::string::npos)
      << run.err;
}

// A link to itself where the model of the third row should be stops that row.
TEST_F(Comparison, UntimedRowsAreRecordedOneByOne) {
  const std::vector<std::string> more = {"--no-timing", "--samples", "4", "-c", "fp4-g32", "-c", "fp4-g64"};
  auto dry = more;
  dry.insert(dry.end(), {"--dry-run", "--json"});
  const json rows = json::parse(RunProgram(Command("results", dry)).out)["rows"];
  ASSERT_EQ(rows.size(), 3u);
  const fs::path blocked =
      folder_ / "results" / ".work" / ("fp4-g64-" + rows[2]["key"].get<std::string>().substr(0, 12));
  fs::create_directories(blocked.parent_path());
  fs::create_symlink(blocked, blocked);
  const RunResult run = RunProgram(Command("results", more));
  EXPECT_NE(run.exit_code, 0) << run.out;
  EXPECT_EQ(RecordsOf("perplexity", "results").size(), 2u) << run.err;
  fs::remove(blocked);
  const RunResult rest = RunProgram(Command("results", more));
  EXPECT_EQ(rest.exit_code, 0) << rest.err;
  EXPECT_NE(rest.out.find("1 of 3 rows"), std::string::npos) << rest.out;
  EXPECT_EQ(RecordsOf("perplexity", "results").size(), 3u);
}

TEST_F(Comparison, JsonHoldsWhatTheRowsMeasured) {
  const auto measured = [&](const char* config) {
    const RunResult run =
        RunProgram(Command("results", {"--no-timing", "--samples", "4", "-c", config, "--json", "-q"}));
    EXPECT_EQ(run.exit_code, 0) << run.err;
    const json document = json::parse(run.out, nullptr, false);
    EXPECT_EQ(document["results"], (folder_ / "results").string());
    return document["summary"]["models"][0]["results"][0]["rows"];
  };
  measured("fp4-g32");
  for (int again = 0; again < 2; ++again) {  // measured now, then found
    const json rows = measured("fp4-g64");
    ASSERT_EQ(rows.size(), 2u) << "rows of another command are left out";
    EXPECT_EQ(rows[0]["config"], "f16");
    EXPECT_EQ(rows[1]["config"], "fp4-g64");
    EXPECT_GT(rows[1]["perplexity"].get<double>(), 1);
    EXPECT_GT(rows[1]["kl"].get<double>(), 0);
  }
}

TEST_F(Comparison, TheMemoryOfACalibrationIsCounted) {
  const auto memory = [&](std::vector<std::string> more) {
    more.insert(more.end(), {"-c", "fp4-g32", "--no-timing", "--dry-run", "--json"});
    const RunResult run = RunProgram(Command("results", more));
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return json::parse(run.out)["memory_bytes"].get<std::uint64_t>();
  };
  const auto calibrated = [&](const char* windows) {
    return memory({"--method", "gptq", "--calibration", (folder_ / "text.txt").string(), "--allow-overlap",
                   "--calibration-ctx", "64", "--calibration-windows", windows});
  };
  EXPECT_EQ(memory({}), 2 * 78144u) << "one model at a time: the baseline";
  // Hidden states of 64 and between the parts of a layer 96 floats for each token.
  EXPECT_EQ(calibrated("24") - calibrated("8"), 16u * 64 * (64 + 96) * sizeof(float));
  EXPECT_GT(calibrated("8"), 8u * 64 * (64 + 96) * sizeof(float));
}

TEST_F(Comparison, TimingBeyondTheContextOfAModelIsWarnedOf) {
  const fs::path config = folder_ / "model" / "config.json";
  json document = json::parse(*ReadFile(config));
  const auto warned = [&](std::size_t context, const std::vector<std::string>& more) {
    document["max_position_embeddings"] = context;
    EXPECT_TRUE(WriteFileAtomic(config, document.dump()).ok());
    const RunResult run = RunProgram(Command("results", more));
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return run.err.find("timing takes 513 positions, and the model was trained for " + std::to_string(context)) !=
           std::string::npos;
  };
  EXPECT_TRUE(warned(512, {"--dry-run"}));
  EXPECT_FALSE(warned(512, {"--dry-run", "--no-timing"}));
  EXPECT_FALSE(warned(513, {"--dry-run"}));
}

TEST_F(Comparison, InterruptSaysHowToGoOn) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    RunOptions options;
    options.signal_after_seconds = 1.0;
    options.signal = signal;
    const RunResult run = RunProgram(Command("results", {"--samples", "20", "--backend", "reference"}), options);
    if (run.exit_code == 0) GTEST_SKIP() << "this machine finished before it could be interrupted";
    EXPECT_EQ(run.exit_code, 130) << run.err;
    EXPECT_NE(run.err.find("continues"), std::string::npos) << run.err;
  }
}

TEST(Report, EmptyFolderGivesThePageThatSaysSo) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "results");
  const RunResult run =
      RunProgram({"report", "generate", (folder / "results").string(), "-o", (folder / "out").string()});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const std::string page = *ReadFile(folder / "out" / "RESULTS.md");
  EXPECT_NE(page.find("No benchmark results found yet"), std::string::npos);
  EXPECT_NE(
      page.find("metal-marlin bench comparison --model ./path/to/model --results " + (folder / "results").string()),
      std::string::npos)
      << page;
  EXPECT_NE(run.err.find("there are no records in " + (folder / "results").string()), std::string::npos) << run.err;
  EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
}

TEST(Report, AFolderOfOtherFilesGivesNoPage) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "results" / "photos");
  const RunResult run = RunProgram({"report", "generate", (folder / "results").string()});
  EXPECT_EQ(run.exit_code, 3) << run.err;
  EXPECT_NE(run.err.find("holds no records, but photos"), std::string::npos) << run.err;
  EXPECT_FALSE(fs::exists(folder / "results" / "RESULTS.md"));
}

TEST(Report, AFolderWithoutAnyRecordGivesNoPage) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "results");
  ASSERT_TRUE(WriteFileAtomic(folder / "results" / "torn.json", "{\"schema\": \"metal-mar").ok());
  ASSERT_TRUE(WriteFileAtomic(folder / "results" / "foreign.json", "[1, 2, 3]").ok());
  const std::string results = (folder / "results").string();
  for (const std::string& out : {results, (folder / "out").string()}) {
    const RunResult run = RunProgram({"report", "generate", results, "-o", out});
    EXPECT_EQ(run.exit_code, 3) << run.err;
    EXPECT_NE(run.err.find("torn.json"), std::string::npos) << run.err;
    EXPECT_NE(run.err.find("foreign.json"), std::string::npos) << run.err;
    EXPECT_NE(run.err.find(results + " holds 2 JSON files but no record; nothing is written"), std::string::npos)
        << run.err;
    EXPECT_FALSE(fs::exists(fs::path(out) / "RESULTS.md"));
  }
  EXPECT_FALSE(fs::exists(folder / "out"));
  const RunResult missing = RunProgram({"report", "generate", (folder / "none").string()});
  EXPECT_EQ(missing.exit_code, 3) << missing.err;
}

TEST(Report, BrokenRecordsBesideGoodOnesAreNamedAndLeftOut) {
  const TemporaryFolder folder;
  fs::copy(MARLIN_SOURCE_DIR "/benchmarks/results", folder / "results");
  ASSERT_TRUE(WriteFileAtomic(folder / "results" / "torn.json", "{\"schema\": \"metal-mar").ok());
  const RunResult run =
      RunProgram({"report", "generate", (folder / "results").string(), "-o", (folder / "out").string()});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_NE(run.err.find("torn.json"), std::string::npos) << run.err;
  const std::string page = *ReadFile(folder / "out" / "RESULTS.md");
  EXPECT_NE(page.find("- torn.json: "), std::string::npos) << page;
  EXPECT_NE(page.find("int4-g64"), std::string::npos);
}

}  // namespace
}  // namespace marlin
