// metal-marlin report import and generate on results of other programs.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "records/test_imports.h"
#include "tests/program.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

class ReportImport : public ::testing::Test {
 protected:
  std::string Put(const std::string& name, const std::string& text) {
    const fs::path path = folder_ / name;
    EXPECT_TRUE(WriteFileAtomic(path, text).ok());
    return path.string();
  }
  std::string results() const { return (folder_ / "results").string(); }
  std::size_t Files() const {
    if (!fs::exists(results())) return 0;
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(results()), {}));
  }

  TemporaryFolder folder_;
};

TEST_F(ReportImport, FromFilesToThePage) {
  const std::string bench = Put("bench.jsonl", test::LlamaBenchLines());
  const std::string eval = Put("results_1.json", test::LmEvalJson());
  RunResult run = RunProgram({"report", "import", bench, eval, "-r", results()});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_NE(run.out.find("2 measurements of tiny-Q4_K_M.gguf by llama-bench"), std::string::npos) << run.out;
  EXPECT_EQ(Files(), 2u);

  run = RunProgram({"report", "import", bench, eval, "-r", results(), "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const json data = json::parse(run.out);
  ASSERT_EQ(data["records"].size(), 2u);
  EXPECT_EQ(data["records"][1]["measurements"], 3);
  EXPECT_EQ(Files(), 2u) << "the same files give the same records";

  const std::string report = (folder_ / "report").string();
  run = RunProgram({"report", "generate", results(), "-o", report});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  for (const char* name : {"RESULTS.md", "index.html"}) {
    const std::string page = *ReadFile(fs::path(report) / name);
    EXPECT_NE(page.find("Measured by other programs"), std::string::npos) << name;
    for (const json& record : data["records"]) {
      EXPECT_NE(page.find(fs::path(record["file"].get<std::string>()).filename().string()), std::string::npos) << name;
    }
  }
}

// A comparison of folders reads none of them.
TEST_F(ReportImport, CompareReadsNoneOfThem) {
  const std::string minnow = MARLIN_SOURCE_DIR "/examples/minnow/results";
  fs::copy(minnow, results());
  const RunResult before = RunProgram({"compare", minnow, results(), "--json"});
  ASSERT_EQ(RunProgram({"report", "import", Put("b.json", test::LlamaBenchJson()), "-r", results()}).exit_code, 0);
  const RunResult after = RunProgram({"compare", minnow, results(), "--json"});
  EXPECT_EQ(after.exit_code, 0) << after.err;
  EXPECT_EQ(after.err, before.err);
  EXPECT_EQ(after.out, before.out);
}

TEST_F(ReportImport, BadFilesLeaveNothingBehind) {
  const std::string good = Put("good.json", test::LlamaBenchJson());
  const std::string cut = Put("cut.json", test::LlamaBenchJson().substr(0, 900));
  RunResult run = RunProgram({"report", "import", good, cut, "-r", results()});
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_NE(run.err.find("cut.json: line "), std::string::npos) << run.err;
  EXPECT_EQ(Files(), 0u);

  run = RunProgram(
      {"report", "import", Put("odd.json", R"({"results": {"t\u001b[2J": 1}, "model_name": "m"})"), "-r", results()});
  EXPECT_EQ(run.exit_code, 3);
  EXPECT_EQ(run.err.find('\x1b'), std::string::npos) << "no control characters on a terminal";

  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  fs::create_directories(folder_ / "folder");
  std::vector<std::string> unreadable;
  for (const char* name : {"missing.json", "pipe", "folder"}) unreadable.push_back((folder_ / name).string());
  unreadable.push_back(Put("huge.json", std::string((std::size_t{16} << 20) + 1, ' ')));
  for (const std::string& path : unreadable) {
    run = RunProgram({"report", "import", path, "-r", results()});
    EXPECT_EQ(run.exit_code, 3) << path;
    EXPECT_NE(run.err.find(path), std::string::npos) << run.err;
  }
  EXPECT_EQ(RunProgram({"report", "import"}).exit_code, 2);
  EXPECT_EQ(Files(), 0u);
}

}  // namespace
}  // namespace marlin
