// recommend as a user runs it: on the committed records, on a model, without records.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/test_text.h"
#include "tests/program.h"
#include "tests/tiny_model.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

const std::string kCommittedRecords = MARLIN_SOURCE_DIR "/benchmarks/results";
const std::string kEarlierRecords = MARLIN_SOURCE_DIR "/benchmarks/earlier";
constexpr const char* kSmolRecords = "SmolLM2-135M-Instruct";
constexpr const char* kEarlierSmolRecords = "SmolLM2-135M-Instruct.Q4_1";
constexpr const char* kGemmaRecords = "gemma-3-270m.Q4_K_M";

RunResult AskForRow(const std::vector<std::string>& words) {
  std::vector<std::string> all = {"recommend"};
  all.insert(all.end(), words.begin(), words.end());
  return RunProgram(all);
}

// The answer for one model of the committed records.
json AskCommitted(const std::string& model, const std::vector<std::string>& words,
                  const std::string& folder = kCommittedRecords) {
  std::vector<std::string> all = {folder, "--model", model, "--json"};
  all.insert(all.end(), words.begin(), words.end());
  const RunResult run = AskForRow(all);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  const json document = json::parse(run.out, nullptr, false);
  if (!document.is_object()) return json::object();
  EXPECT_EQ(document["models"].size(), 1u);
  return document["models"][0];
}

json RowNamed(const json& answer, const std::string& name) {
  for (const json& row : answer["rows"]) {
    if (row["name"] == name) return row;
  }
  return nullptr;
}

TEST(Recommend, TheBestOfThePageWithItsCommands) {
  const json answer = AskCommitted(kSmolRecords, {});
  EXPECT_EQ(answer["recommended"], "mixed 4.5 bits gptq-cd (wikitext2-valid)");
  EXPECT_EQ(answer["runner_up"], "fp4-g32 gptq-cd (wikitext2-valid)");
  EXPECT_EQ(answer["commands"][0],
            "metal-marlin plan MODEL --budget 4.5bpw --calibration wikitext2-valid -o plan-4.5bpw.json");
  EXPECT_EQ(answer["commands"][1],
            "metal-marlin quantize MODEL --plan plan-4.5bpw.json --method gptq-cd --calibration wikitext2-valid -o "
            "./mixed-4.5bpw-gptq-cd-wikitext2-valid");
  const json row = RowNamed(answer, answer["recommended"]);
  EXPECT_EQ(row["records"][0]["file"], "SmolLM2-135M-Instruct-mixed-00c251139e04.json");
  EXPECT_EQ(row["memory"]["basis"], "measured_and_computed");
  EXPECT_EQ(row["memory"]["bytes"], 223059024) << "of the GPU";
  EXPECT_TRUE(Has(row["decode_setting"]["device"].get<std::string>(), "NVIDIA H200")) << row["decode_setting"];
}

TEST(Recommend, SaysInWhichProgramsTheRowsRun) {
  const json smol = AskCommitted(kSmolRecords, {})["files"];
  EXPECT_EQ(smol["recommended"]["runs_in"], json::array()) << "its plan has formats of this program alone";
  EXPECT_EQ(smol["recommended"]["exports"], json::array());
  const json minnow = AskCommitted("minnow", {})["files"];
  EXPECT_EQ(minnow["runner_up"]["runs_in"], (json{"llama.cpp", "MLX", "vLLM"}));
  EXPECT_EQ(
      minnow["runner_up"]["exports"][0],
      "metal-marlin export ./int4-g64-gptq-cd-wikitext2-valid --to gguf -o int4-g64-gptq-cd-wikitext2-valid.gguf");
  EXPECT_EQ(AskCommitted(kGemmaRecords, {"--memory", "12GB"})["files"]["recommended"]["runs_in"], nullptr)
      << "the model itself";
}

TEST(Recommend, ALimitOfMemory) {
  const json answer = AskCommitted(kSmolRecords, {"--memory", "220MB"});
  EXPECT_EQ(answer["recommended"], "mixed 4.25 bits gptq-cd (wikitext2-valid)") << "219.1 MB; 4.5 bits need 223.1";
  EXPECT_EQ(RowNamed(answer, "mixed 4.5 bits gptq-cd (wikitext2-valid)")["reasons"][0]["reason"], "memory");
}

TEST(Recommend, ALimitOfSpeed) {
  const json of_gpu = AskCommitted(kSmolRecords, {"--min-tps", "1100"});
  EXPECT_EQ(of_gpu["recommended"], "fp4-g32 gptq-cd (wikitext2-valid)");
  EXPECT_EQ(RowNamed(of_gpu, "f16 (dequantized from Q4_1)")["reasons"][0]["reason"], "speed") << "1099 tok/s";
  const json answer = AskCommitted(kEarlierSmolRecords, {"--min-tps", "170"}, kEarlierRecords);
  EXPECT_EQ(answer["recommended"], "fp4-g32") << "of the rows that were timed the one that loses least";
  EXPECT_EQ(answer["runner_up"], "int4-g64");
  EXPECT_EQ(RowNamed(answer, "fp4-g32 gptq-cd (wikitext2-valid)")["reasons"][0]["reason"], "speed_not_measured");
}

TEST(Recommend, ALimitOfPerplexityThatIsNotCertain) {
  const json answer = AskCommitted(kGemmaRecords, {"--max-ppl-delta", "5.7%"});
  EXPECT_EQ(answer["recommended"], "mixed 4.5 bits gptq-cd (wikitext2-valid)") << "5.62 %";
  const json row = RowNamed(answer, answer["recommended"]);
  ASSERT_EQ(row["doubts"].size(), 1u);
  EXPECT_TRUE(Has(row["doubts"][0].get<std::string>(), "not certain: the 95 % interval")) << row["doubts"];
  EXPECT_EQ(AskCommitted(kGemmaRecords, {"--max-ppl-delta", "7"})["recommended"], answer["recommended"]);
}

TEST(Recommend, WhereTheModelFitsNothingNeedsToBeLost) {
  const json answer = AskCommitted(kGemmaRecords, {"--memory", "12GB"});
  EXPECT_EQ(answer["recommended"], "f16 (dequantized from Q4_K_M)");
  EXPECT_EQ(answer["commands"].size(), 0u);
  EXPECT_TRUE(Has(answer["notes"][0].get<std::string>(), "nothing to make")) << answer["notes"];
}

TEST(Recommend, LimitsOfMemoryAndLoss) {
  const json answer = AskCommitted(kGemmaRecords, {"--memory", "493MB", "--max-kl", "0.08"});
  EXPECT_EQ(answer["recommended"], "mixed 4.25 bits gptq-cd (wikitext2-valid)");
  EXPECT_EQ(answer["runner_up"], nullptr) << "nothing else satisfies both";
  EXPECT_TRUE(Has(answer["commands"][0].get<std::string>(), "--budget 4.25bpw")) << answer["commands"];
  EXPECT_EQ(RowNamed(answer, "fp4-g32 gptq-cd (wikitext2-valid)")["reasons"][0]["reason"], "memory");
  EXPECT_EQ(RowNamed(answer, "fp4-g64 gptq-cd (wikitext2-valid)")["reasons"][0]["reason"], "kl");
}

TEST(Recommend, WhatCannotBeSaysTheLeastThatIsPossible) {
  const RunResult run =
      AskForRow({kCommittedRecords, "--model", kSmolRecords, "--memory", "100MB", "--max-kl", "0.05"});
  EXPECT_EQ(run.exit_code, 6) << run.err;
  EXPECT_TRUE(Has(run.err, "no row satisfies the limits")) << run.err;
  EXPECT_TRUE(Has(run.out, "  memory    216.3 MB with 512 tokens: fp4-g256 gptq-cd (wikitext2-valid)\n")) << run.out;
  EXPECT_TRUE(Has(run.out, "  loss      KL 0.07904: mixed 4.5 bits gptq-cd (wikitext2-valid) †\n")) << run.out;
}

TEST(Recommend, AContextThatRecordsDoNotKnowIsNotGuessed) {
  const RunResult run =
      AskForRow({kEarlierRecords, "--model", kEarlierSmolRecords, "--memory", "1GB", "--context", "2048"});
  EXPECT_EQ(run.exit_code, 3) << run.err;
  EXPECT_TRUE(Has(run.out, "memory with 2,048 tokens is not known")) << run.out;
  EXPECT_TRUE(
      Has(run.out, "metal-marlin recommend MODEL --results " + kEarlierRecords + " --memory 1GB --context 2048"))
      << run.out;
}

// The model at hand makes the memory of a longer context known; its records are found by its hash.
TEST(Recommend, TheModelItselfKnowsEveryContext) {
  const RunResult run = AskForRow({kMinnow, "-r", kEarlierRecords, "--context", "512", "--memory", "40MB", "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const json answer = json::parse(run.out)["models"][0];
  EXPECT_EQ(answer["estimate"], false);
  EXPECT_EQ(answer["recommended"], "mixed 4.5 bits gptq-cd (wikitext2-valid)");
  EXPECT_TRUE(Has(answer["commands"][0].get<std::string>(), "metal-marlin plan " + kMinnow)) << answer["commands"];
  const json memory = RowNamed(answer, answer["recommended"])["memory"];
  EXPECT_EQ(memory["basis"], "measured_and_computed");
  // 24690688 bytes were measured with 16 positions; 496 more need their share of what 512 need.
  const auto of_512 = memory["cache_bytes"].get<std::uint64_t>() + memory["work_bytes"].get<std::uint64_t>();
  EXPECT_EQ(memory["bytes"], 24690688 + of_512 / 512 * 496);
  EXPECT_EQ(RowNamed(answer, "llama.cpp Q4_K_M, imatrix")["reasons"][0]["reason"], "another_program");
  EXPECT_EQ(AskForRow({kMinnow, "-r", kEarlierRecords, "--context", "513"}).exit_code, 2) << "it was trained for 512";
}

TEST(Recommend, AFolderAnswersForEveryModel) {
  const RunResult all = AskForRow({kCommittedRecords});
  ASSERT_EQ(all.exit_code, 0) << all.err;
  for (const char* name : {"Qwen2.5-Coder-1.5B-Instruct", kGemmaRecords, kSmolRecords, "minnow"})
    EXPECT_TRUE(Has(all.out, std::string(name) + ": no limits\n"));
  const RunResult unknown = AskForRow({kCommittedRecords, "--model", "minow"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_TRUE(Has(unknown.err, "did you mean minnow? The records are of: Qwen2.5-Coder-1.5B-Instruct, SmolLM2"))
      << unknown.err;
}

TEST(Recommend, WithoutRecordsItIsAnEstimate) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "none");
  const std::string none = (folder / "none").string();
  const RunResult run = AskForRow({kMinnow, "-r", none, "--json", "-q"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const json answer = json::parse(run.out)["models"][0];
  EXPECT_EQ(answer["estimate"], true);
  EXPECT_TRUE(Has(answer["basis"].get<std::string>(), "32 units")) << answer["basis"];
  EXPECT_TRUE(Has(answer["basis"].get<std::string>(), "4 windows of 512 tokens of the built-in sample"));
  EXPECT_EQ(answer["measure"], "metal-marlin bench comparison --model " + kMinnow + " -r " + none);
  EXPECT_EQ(answer["rows"].size(), 8u) << "the 16-bit model and every configuration";
  EXPECT_EQ(answer["recommended"], "int4-g64");
  EXPECT_EQ(answer["commands"][0], "metal-marlin quantize " + kMinnow + " --config int4-g64 -o ./int4-g64");
  EXPECT_EQ(answer["files"]["recommended"]["runs_in"], (json{"llama.cpp", "MLX", "vLLM"}));
  EXPECT_EQ(answer["files"]["recommended"]["exports"][2],
            "metal-marlin export ./int4-g64 --to compressed-tensors -o int4-g64-ct");
  EXPECT_EQ(answer["files"]["recommended"]["exports"][1],
            "metal-marlin export ./int4-g64 --to mlx --type f16 -o int4-g64-mlx")
      << "bf16, the type of the model, does not hold its scales";
  // Sizes are those of the records; sensitivities order the configurations as the measurement did.
  EXPECT_EQ(RowNamed(answer, "fp4-g128")["memory"]["tensor_bytes"], 5350784);
  EXPECT_LT(RowNamed(answer, "int8-g128")["kl"], RowNamed(answer, "int4-g64")["kl"]);
  EXPECT_LT(RowNamed(answer, "int4-g64")["kl"], RowNamed(answer, "fp4-g128")["kl"]);
  EXPECT_NEAR(RowNamed(answer, "fp4-g128")["kl"].get<double>() / 0.049, 1, 0.6);
  for (const char* option : {"--min-tps", "--max-ppl-delta"}) {
    const RunResult unknown = AskForRow({kMinnow, "-r", none, option, "1"});
    EXPECT_EQ(unknown.exit_code, 3);
    EXPECT_TRUE(Has(unknown.err, option)) << unknown.err;
    EXPECT_TRUE(Has(unknown.err, "metal-marlin bench comparison --model")) << unknown.err;
  }
}

// New records hold what a position costs: a folder of them answers for every context without the model.
TEST(Recommend, NewRecordsKnowEveryContext) {
  const TemporaryFolder folder;
  const std::string model = (folder / "model").string();
  const std::string results = (folder / "results").string();
  const std::string text = (folder / "text.txt").string();
  WriteTinyModel(model);
  WriteTinyText(text);
  const RunResult made = RunProgram({"bench", "comparison", "-m", model, "--data", text, "--ctx", "64", "-s", "8", "-c",
                                     "fp4-g32", "--no-timing", "-r", results, "-q"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const auto answer = [&](const std::vector<std::string>& words) {
    const RunResult run = AskForRow(words);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return json::parse(run.out)["models"][0];
  };
  const json by_records = answer({results, "--context", "100", "--memory", "1GB", "--json"});
  const json by_model = answer({model, "-r", results, "--context", "100", "--memory", "1GB", "--json"});
  EXPECT_EQ(by_records["rows"], by_model["rows"]);
  EXPECT_NE(by_records["rows"][0]["memory"]["bytes"], nullptr);
  EXPECT_EQ(by_records["recommended"], "f16 (BF16 weights)");
  EXPECT_EQ(AskForRow({results, "--context", "100000"}).exit_code, 2) << "beyond what the model was trained for";
}

TEST(Recommend, WhatHostileRecordsSayIsHarmless) {
  const TemporaryFolder folder;
  for (const auto& entry : fs::directory_iterator(kCommittedRecords)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("minnow-f16") && !name.starts_with("minnow-int4-g64")) continue;
    json record = json::parse(*ReadFile(entry.path()));
    record["model"]["name"] = "<script>\x1b[31m\u202e'; reboot;'";
    if (record["config"]["calibration"].is_object()) record["config"]["calibration"]["name"] = "a\r-o\r/etc $(reboot)";
    record["machine"]["cpu"] = std::string(200, 'x') + "\n";
    ASSERT_TRUE(WriteFileAtomic(folder / name, record.dump()).ok());
  }
  const RunResult run = AskForRow({folder.path().string()});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  for (const char c : {'\x1b', '\r'}) EXPECT_EQ((run.out + run.err).find(c), std::string::npos);
  EXPECT_EQ(run.out.find("\u202e"), std::string::npos);
  EXPECT_TRUE(Has(run.out, "--calibration 'a -o /etc $(reboot)' -o ./int4-g64")) << run.out;
  EXPECT_EQ(json::parse(AskForRow({folder.path().string(), "--json"}).out)["models"].size(), 1u);
}

TEST(Recommend, WrongWordsAreRefused) {
  const TemporaryFolder folder;
  const std::string empty = folder.path().string();
  const auto refused = [](const std::vector<std::string>& words, int code, const std::string& piece) {
    const RunResult run = AskForRow(words);
    EXPECT_EQ(run.exit_code, code) << run.err;
    EXPECT_TRUE(Has(run.err, piece)) << run.err;
    EXPECT_EQ(run.out, "");
  };
  refused({kCommittedRecords, "--memory", "12"}, 2,
          "--memory: \"12\" is not a size; want a number and a unit, as 900MB");
  refused({kCommittedRecords, "--memory", "4.25bpw"}, 2, "is not a size");
  refused({kCommittedRecords, "--memory", "-1GB"}, 2, "is not a size");
  refused({kCommittedRecords, "--memory", "1e300GB"}, 2, "is not a size");
  refused({kCommittedRecords, "--max-ppl-delta", "much"}, 2, "\"much\" is not a percentage");
  refused({kCommittedRecords, "--max-ppl-delta", "-1%"}, 2, "is not a percentage");
  refused({kCommittedRecords, "--max-kl", "nan"}, 2, "--max-kl");
  refused({kCommittedRecords, "--context", "0"}, 2, "--context");
  refused({kCommittedRecords, "--results", kCommittedRecords}, 2, "is a folder of records itself");
  refused({kMinnow, "--model", "minnow"}, 2, "a model was named already");
  refused({kMinnow, "-r", empty + "/none"}, 3, "cannot read the results folder");
  refused({empty}, 3, "holds no records");
  refused({empty + "/none"}, 3, "none");
}

}  // namespace
}  // namespace marlin
