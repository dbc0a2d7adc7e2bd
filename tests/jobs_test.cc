// A comparison as jobs: by many processes, one by one, by scripts; and what its records depend on.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "base/rng.h"
#include "tests/comparison.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

const std::vector<std::string> kUntimed = {"--no-timing", "--samples", "6", "-c", "fp4-g32,int4-g64"};

class Jobs : public Comparison {
 protected:
  std::vector<std::string> Untimed(const std::string& results, const std::vector<std::string>& more = {}) const {
    auto words = Command(results, kUntimed);
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  // Puts a program in front of the others.
  std::string PathWith(const std::string& name, const std::string& script) const {
    fs::create_directories(folder_ / "bin");
    EXPECT_TRUE(WriteFileAtomic(folder_ / "bin" / name, script).ok());
    fs::permissions(folder_ / "bin" / name, fs::perms::owner_all);
    return (folder_ / "bin").string() + ":" + std::getenv("PATH");
  }

  // Runs a script that --emit printed; the last line of what it said when it failed.
  void RunScript(const std::string& command, const std::string& path) const {
    const std::string all = fmt::format("PATH='{}' {} > '{}' 2>&1", path, command, (folder_ / "log").string());
    EXPECT_EQ(std::system(all.c_str()), 0) << *ReadFile(folder_ / "log");
  }
};

TEST_F(Jobs, TimingAndAnotherNumberOfThreadsEvaluateNothingAgain) {
  ASSERT_EQ(RunProgram(Untimed("results", {"--threads", "2"})).exit_code, 0);
  const auto quality = Records("results");
  const RunResult alone = RunProgram(Untimed("results", {"--threads", "1"}));
  EXPECT_NE(alone.out.find("0 of 3 rows, 0 of 4 jobs"), std::string::npos) << alone.out;
  const RunResult timed =
      RunProgram(Command("results", {"--samples", "6", "-c", "fp4-g32,int4-g64", "--threads", "1"}));
  ASSERT_EQ(timed.exit_code, 0) << timed.err;
  for (const char* stage : {"perplexity of", "divergence of", "noise floor of"}) {
    EXPECT_EQ(timed.err.find(stage), std::string::npos) << timed.err;
  }
  const auto all = Records("results");
  EXPECT_EQ(all.size(), quality.size() + 3);
  for (const auto& [name, record] : quality) EXPECT_EQ(all.at(name), record) << name;
}

TEST_F(Jobs, OneByOneTheyGiveWhatOneRunGives) {
  ASSERT_EQ(RunProgram(Untimed("whole")).exit_code, 0);
  const json jobs = Comparison::Jobs(Untimed("results"));
  ASSERT_EQ(jobs.size(), 4u);
  EXPECT_EQ(jobs[0]["kind"], "baseline");
  EXPECT_EQ(jobs[2]["after"], json::array({jobs[0]["id"]}));
  const auto run = [&](std::size_t i) { return RunProgram(Untimed("results", {"--job", jobs[i]["id"]})); };
  const RunResult early = run(2);
  EXPECT_EQ(early.exit_code, 3);
  EXPECT_NE(early.err.find(fmt::format("needs the job {} (baseline of model), which is not done",
                                       jobs[0]["id"].get<std::string>())),
            std::string::npos)
      << early.err;
  for (const std::size_t i : {0u, 3u, 2u, 1u}) EXPECT_EQ(run(i).exit_code, 0) << jobs[i]["name"];
  ExpectSameRecords("results", "whole");
  const RunResult unknown = RunProgram(Untimed("results", {"--job", "0123456789ab"}));
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_NE(unknown.err.find("no job 0123456789ab"), std::string::npos) << unknown.err;
  EXPECT_EQ(RunProgram(Untimed("results", {"--shard", "3/2"})).exit_code, 2);
}

TEST_F(Jobs, AHeldJobIsListedWithItsHolder) {
  json jobs = Comparison::Jobs(Untimed("results"));
  const fs::path claims = folder_ / "results" / ".work" / "claims";
  fs::create_directories(claims);
  const json holder = {
      {"host", "far"}, {"machine", "another"}, {"process", 7}, {"start", 1}, {"since", "2026-01-01T00:00:00Z"}};
  ASSERT_TRUE(WriteFileAtomic(claims / ("baseline-" + jobs[0]["id"].get<std::string>() + ".1"), holder.dump()).ok());
  jobs = Comparison::Jobs(Untimed("results"));
  EXPECT_EQ(jobs[0]["state"], "held");
  EXPECT_EQ(jobs[0]["holder"], "host far, process 7, since 2026-01-01T00:00:00Z");
  EXPECT_EQ(jobs[1]["state"], "to do");
}

// Shares and whole runs in one folder, killed anywhere: every record is that of one undisturbed run.
TEST_F(Jobs, ManyProcessesThatAreKilledGiveTheSameRecords) {
  ASSERT_EQ(RunProgram(Command("whole", {"--samples", "6"})).exit_code, 0);
  Rng rng(static_cast<std::uint64_t>(::getpid()));
  const std::vector<std::vector<std::string>> kinds = {{"--shard", "1/2"}, {"--shard", "2/2"}, {}};
  const auto run = [&](const std::vector<std::string>& kind, std::optional<double> kill) {
    std::vector<std::string> more = {"--samples", "6", "--threads", "1"};
    more.insert(more.end(), kind.begin(), kind.end());
    RunOptions options;
    options.signal_after_seconds = kill;
    return RunProgram(Command("shared", more), options);
  };
  for (int round = 0; round < 4; ++round) {
    std::vector<std::thread> processes;
    for (const auto& kind : kinds) processes.emplace_back(run, kind, 1.5 * rng.Uniform());
    for (std::thread& process : processes) process.join();
  }
  std::vector<RunResult> last(kinds.size());
  std::vector<std::thread> processes;
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    processes.emplace_back([&, i] { last[i] = run(kinds[i], std::nullopt); });
  }
  for (std::thread& process : processes) process.join();
  for (const RunResult& result : last) EXPECT_EQ(result.exit_code, 0) << result.err;
  const auto want = RecordsOf("perplexity", "whole");
  const auto got = RecordsOf("perplexity", "shared");
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, record] : want) EXPECT_EQ(Reproducible(got.at(name)), Reproducible(record)) << name;
  EXPECT_EQ(RecordsOf("noise_floor", "shared").size(), 1u);
  EXPECT_EQ(RecordsOf("throughput", "shared").size(), kRows);
  EXPECT_FALSE(fs::exists(folder_ / "shared" / ".work" / "claims")) << "whoever ends last tidies up";
}

TEST_F(Jobs, AMakefileRunsThem) {
  ASSERT_EQ(RunProgram(Untimed("whole")).exit_code, 0);
  const RunResult emitted = RunProgram(Untimed("results", {"--emit", "make", "--threads", "1"}));
  ASSERT_EQ(emitted.exit_code, 0) << emitted.err;
  EXPECT_FALSE(fs::exists(folder_ / "results"));
  ASSERT_TRUE(WriteFileAtomic(folder_ / "sweep.mk", emitted.out).ok());
  RunScript(fmt::format("make -f '{}' -j 2", (folder_ / "sweep.mk").string()), std::getenv("PATH"));
  ExpectSameRecords("results", "whole");
}

// sbatch of a cluster with one node that runs everything at once: it reads the script and runs every task of the array.
TEST_F(Jobs, AScriptSubmitsThemToSlurm) {
  const std::string path = PathWith("sbatch", R"sh(#!/bin/bash
for word in "$@"; do
  case $word in --array=0-*) last=${word#--array=0-} ;; esac
done
echo "$@" >> "$SBATCH_LOG"
script=$(cat)
for ((i = 0; i <= last; ++i)); do
  SLURM_ARRAY_TASK_ID=$i bash -c "$script" >&2
done
wc -l < "$SBATCH_LOG"
)sh");
  ASSERT_EQ(RunProgram(Untimed("whole")).exit_code, 0);
  const RunResult emitted = RunProgram(Untimed("results", {"--emit", "slurm", "--threads", "2"}));
  ASSERT_EQ(emitted.exit_code, 0) << emitted.err;
  ASSERT_TRUE(WriteFileAtomic(folder_ / "sweep.sh", emitted.out).ok());
  const std::string log = (folder_ / "sbatch.log").string();
  RunScript(fmt::format("LOGS='{}' SBATCH_LOG='{}' bash '{}' --partition=cpu", (folder_ / "logs").string(), log,
                        (folder_ / "sweep.sh").string()),
            path);
  ExpectSameRecords("results", "whole");
  const std::string submitted = *ReadFile(log);
  for (const char* word : {"--job-name=baseline --array=0-0", "--job-name=quality --array=0-1", "--cpus-per-task=2",
                           "--requeue", "--dependency=afterok:1 ", "--partition=cpu"}) {
    EXPECT_NE(submitted.find(word), std::string::npos) << word << "\n" << submitted;
  }
}

TEST_F(Jobs, AShareWithoutJobsIsDoneAtOnce) {
  const RunResult empty = RunProgram(Untimed("results", {"--shard", "9/9"}));
  EXPECT_EQ(empty.exit_code, 0) << empty.err;
  EXPECT_NE(empty.out.find("this share is done; 4 of 4 jobs are left to other shares"), std::string::npos) << empty.out;
  EXPECT_EQ(Comparison::Jobs(Untimed("results", {"--shard", "9/9"})).size(), 0u);
  EXPECT_EQ(RunProgram(Untimed("results", {"--job", "0123456789ab", "--dry-run"})).exit_code, 2);
}

// Damaged files of the work folder are made again: the quantized model at once, the states by the next run.
TEST_F(Jobs, DamagedWorkIsMadeAgain) {
  ASSERT_EQ(RunProgram(Untimed("whole")).exit_code, 0);
  const json jobs = Comparison::Jobs(Untimed("results"));
  ASSERT_EQ(RunProgram(Untimed("results", {"--job", jobs[0]["id"]})).exit_code, 0);
  const fs::path work = folder_ / "results" / ".work";
  fs::path states;
  for (const auto& entry : fs::directory_iterator(work)) {
    if (entry.path().extension() == ".hidden") states = entry.path();
  }
  std::string bytes = *ReadFile(states);
  bytes[bytes.size() / 2] ^= 1;
  ASSERT_TRUE(WriteFileAtomic(states, bytes).ok());
  const RunResult damaged = RunProgram(Untimed("results"));
  EXPECT_EQ(damaged.exit_code, 7) << damaged.err;
  EXPECT_NE(damaged.err.find("the file was deleted, run the command again"), std::string::npos) << damaged.err;

  // The rows were quantized; one of them loses its end.
  std::size_t cut = 0;
  for (const auto& entry : fs::directory_iterator(work)) {
    if (!entry.path().filename().string().starts_with("fp4-g32-")) continue;
    fs::resize_file(entry.path() / "model.safetensors", 1000);
    ++cut;
  }
  EXPECT_EQ(cut, 1u);
  const RunResult again = RunProgram(Untimed("results"));
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_NE(again.out.find("the row is quantized again"), std::string::npos) << again.out;
  ExpectSameRecords("results", "whole");
}

// A limit on the size of a file is to a process what a full disk is.
TEST_F(Jobs, AFullDiskStopsEverythingByNameAndLosesNothing) {
  ASSERT_EQ(RunProgram(Untimed("whole")).exit_code, 0);
  RunOptions options;
  options.file_size_limit = 20'000;  // room for claims, not for hidden states
  const RunResult full = RunProgram(Untimed("results"), options);
  EXPECT_EQ(full.exit_code, 4) << full.err;
  EXPECT_NE(full.err.find("states-"), std::string::npos) << full.err;
  EXPECT_TRUE(Records("results").empty());
  const RunResult again = RunProgram(Untimed("results"));
  EXPECT_EQ(again.exit_code, 0) << again.err;
  ExpectSameRecords("results", "whole");
}

// Each arithmetic has records of its own, and a row is shown once.
TEST_F(Jobs, TwoArithmeticsAreTwoRecordsAndOneRow) {
  for (const char* isa : {"scalar", "avx2"}) {
    const RunResult run = RunProgram(Untimed("results", {"--isa", isa, "--activations", "fp32"}));
    if (run.exit_code == 5) GTEST_SKIP() << "this machine has no AVX2: " << run.err;
    ASSERT_EQ(run.exit_code, 0) << run.err;
    EXPECT_NE(run.out.find("3 of 3 rows"), std::string::npos) << "records of another arithmetic do not count";
  }
  EXPECT_EQ(RecordsOf("perplexity", "results").size(), 6u);
  const RunResult report = RunProgram({"report", "generate", (folder_ / "results").string()});
  ASSERT_EQ(report.exit_code, 0) << report.err;
  const std::string page = *ReadFile(folder_ / "results" / "RESULTS.md");
  EXPECT_NE(page.find("Also measured with another arithmetic, cpu/"), std::string::npos) << page;
  const json groups = json::parse(RunProgram({"report", "generate", (folder_ / "results").string(), "--json"}).out,
                                  nullptr, false)["summary"]["models"][0]["results"];
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0]["rows"].size(), 3u) << "none twice";
  for (const json& row : groups[0]["rows"]) EXPECT_EQ(row["baseline"].get<bool>(), row["delta_percent"].is_null());
}

}  // namespace
}  // namespace marlin
