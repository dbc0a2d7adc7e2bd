// The command `bench comparison` on a tiny model, and what a rerun must reproduce.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <vector>

#include "base/file.h"
#include "formats/formats.h"
#include "tests/program.h"
#include "tests/tiny_model.h"

namespace marlin {

// The baseline and every common 4-bit format.
inline const std::size_t kRows =
    1 + static_cast<std::size_t>(std::ranges::count(
            Formats(), true, [](const FormatRow& row) { return row.info.code_bits == 4 && row.info.common; }));

class Comparison : public testing::Test {
 protected:
  using Json = nlohmann::json;

  void SetUp() override {
    WriteTinyModel(folder_ / "model");
    WriteTinyText(folder_ / "text.txt");
  }

  std::vector<std::string> Command(const std::string& results, std::vector<std::string> more = {}) const {
    std::vector<std::string> words = {"bench",          "comparison",
                                      "--model",        (folder_ / "model").string(),
                                      "--data",         (folder_ / "text.txt").string(),
                                      "--ctx",          "128",
                                      "--results",      (folder_ / results).string(),
                                      "--quick-timing", "--no-kernels"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  // Records by file name; hidden files are not records.
  std::map<std::string, Json> Records(const std::string& results) const {
    std::map<std::string, Json> records;
    std::error_code code;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / results, code)) {
      const std::string name = entry.path().filename().string();
      if (name[0] != '.') records[name] = Json::parse(*ReadFile(entry.path()));
    }
    return records;
  }

  // Those that measure one thing: "perplexity", "noise_floor", "throughput".
  std::map<std::string, Json> RecordsOf(const std::string& section, const std::string& results) const {
    std::map<std::string, Json> records = Records(results);
    std::erase_if(records, [&](const auto& entry) { return entry.second[section].is_null(); });
    return records;
  }

  // What a rerun anywhere must reproduce to the bit: everything but times, the machine's state and the command.
  static Json Reproducible(const Json& record) {
    Json kept;
    for (const char* section : {"key", "id", "config", "model", "plan", "perplexity", "divergence", "noise_floor"}) {
      kept[section] = record[section];
    }
    if (!kept["perplexity"].is_null()) kept["perplexity"].erase("seconds");
    return kept;
  }

  // The two folders hold the same records, and the same bits where bits can be the same.
  void ExpectSameRecords(const std::string& got_in, const std::string& want_in) const {
    const auto want = Records(want_in);
    const auto got = Records(got_in);
    EXPECT_EQ(got.size(), want.size());
    for (const auto& [name, record] : want) {
      ASSERT_TRUE(got.contains(name)) << name;
      EXPECT_EQ(Reproducible(got.at(name)), Reproducible(record)) << name;
    }
  }

  // The jobs of a command, as --list-jobs gives them.
  Json Jobs(std::vector<std::string> command) const {
    command.insert(command.end(), {"--list-jobs", "--json"});
    const RunResult run = RunProgram(command);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return Json::parse(run.out, nullptr, false)["jobs"];
  }

  TemporaryFolder folder_;
};

}  // namespace marlin
