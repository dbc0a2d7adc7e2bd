// One command that fills the whole page. A server of the test's own has stand-ins for the two calibration texts, under
// their real addresses.
#include <atomic>
#include <chrono>
#include <sstream>
#include <thread>

#include "hub/http_test_server.h"
#include "hub/zip_test_file.h"
#include "tests/comparison.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

std::string OfRepository(const std::string& file) { return *ReadFile(fs::path(MARLIN_SOURCE_DIR) / file); }

std::vector<std::string> LinesOf(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

class PageCommand : public Comparison {
 protected:
  void SetUp() override {
    Comparison::SetUp();
    WriteZip(folder_ / "served.zip", {{"wikitext-2-raw/wiki.train.raw", OfRepository("LICENSE")}});
    archive_ = *ReadFile(folder_ / "served.zip");
    gist_ = OfRepository("docs/methodology.md");
  }

  void Answer(const std::string& request, const HttpTestServer::Connection& connection) const {
    const auto asks = [&](const std::string& path) { return request.starts_with("GET " + path + " "); };
    if (asks("/datasets/ggml-org/ci/resolve/main/wikitext-2-raw-v1.zip")) {
      connection.Send(HttpResponse("200 OK", archive_));
    } else if (asks("/bartowski1182/eb213dccb3571f863da82e99418f81e8/raw/calibration_datav3.txt")) {
      connection.Send(HttpResponse("200 OK", gist_));
    } else {
      connection.Send(HttpResponse("404 Not Found", ""));
    }
  }

  // The page of the tiny model; its weights need a budget of their own.
  RunResult Page(const std::vector<std::string>& more) const {
    std::vector<std::string> words = {"--budget", "5.2bpw", "--plan-windows", "4"};
    words.insert(words.end(), more.begin(), more.end());
    return PageWithoutPlans(words);
  }

  RunResult PageWithoutPlans(const std::vector<std::string>& more) const {
    std::vector<std::string> command =
        Command("results", {"--page", "--calibration-windows", "8", "--calibration-ctx", "64"});
    command.insert(command.end(), more.begin(), more.end());
    RunOptions options;
    options.environment = {{"HF_ENDPOINT", server_.url()},
                           {"METAL_MARLIN_GIST_ENDPOINT", server_.url()},
                           {"XDG_CACHE_HOME", (folder_ / "cache").string()},
                           {"METAL_MARLIN_DATA", ""},
                           {"HF_HUB_OFFLINE", ""},
                           {"TRANSFORMERS_OFFLINE", ""}};
    return RunProgram(command, options);
  }

  // Every file of the results: name and content.
  std::map<std::string, std::string> Files() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "results")) {
      if (entry.is_regular_file()) files[entry.path().string()] = *ReadFile(entry.path());
    }
    return files;
  }

  std::string Markdown() const { return *ReadFile(folder_ / "results" / "RESULTS.md"); }

  // The line of a configuration in the calibration table; empty where there is none.
  std::string CalibrationLine(const std::string& config) const {
    const std::string page = Markdown();
    const std::size_t begin = page.find("## 4. ");
    for (const std::string& line : LinesOf(page.substr(begin, page.find("## 5. ") - begin))) {
      if (line.starts_with("| " + config) && line.find("WikiText-2 vs Bartowski v3") != std::string::npos) return line;
    }
    return "";
  }

  std::string archive_;
  std::string gist_;
  const HttpTestServer server_{[this](int, const std::string& request, const HttpTestServer::Connection& connection) {
    Answer(request, connection);
  }};
};

TEST_F(PageCommand, OneCommandFillsThePageAndASecondRunMeasuresNothing) {
  const RunResult run = Page({"-q"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  for (const FormatRow& row : Formats()) {
    if (row.info.code_bits != 4 || !row.info.common) continue;
    const std::string line = CalibrationLine(std::string(row.info.name) + " gptq-cd");
    EXPECT_FALSE(line.empty()) << row.info.name;
    EXPECT_EQ(line.find("not measured"), std::string::npos) << line;
  }
  EXPECT_FALSE(CalibrationLine("mixed 5.").empty()) << Markdown();
  const std::string page = Markdown();
  EXPECT_EQ(page.find("Not measured: no record has"), std::string::npos) << "uniform and mixed, calibration";
  EXPECT_EQ(page.find("still runs"), std::string::npos);
  EXPECT_TRUE(fs::exists(folder_ / "results" / "index.html"));
  EXPECT_EQ(server_.requests().size(), 2u) << "each text is downloaded once";

  const std::vector<std::string> summary = LinesOf(run.out);
  EXPECT_LE(summary.size(), 20u) << run.out;
  EXPECT_NE(run.out.find("  best       "), std::string::npos) << run.out;
  EXPECT_NE(run.out.find("  runner-up  "), std::string::npos) << run.out;
  EXPECT_NE(run.out.find((folder_ / "results" / "index.html").string()), std::string::npos) << run.out;
  EXPECT_NE(run.out.find("kernels (left out by --no-kernels)"), std::string::npos) << run.out;

  const auto files = Files();
  const RunResult again = Page({"-q"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(Files(), files) << "finished rows are left alone, and the same records give the same page";
  EXPECT_EQ(again.out, run.out);
  EXPECT_EQ(server_.requests().size(), 2u);
}

TEST_F(PageCommand, AMixedPlanIsComparedWithUniformRowsOfItsOwnText) {
  const RunResult run = Page({"-q", "--no-timing", "--samples", "4", "-c", "fp4-g64,int4-g64,mixed"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const std::string page = Markdown();
  const std::size_t begin = page.find("## 3. ");
  std::size_t pairs = 0;
  for (const std::string& line : LinesOf(page.substr(begin, page.find("## 4. ") - begin))) {
    const bool wiki = line.find("(wikitext2") != std::string::npos;
    const bool bartowski = line.find("(bartowski-v3") != std::string::npos;
    EXPECT_FALSE(wiki && bartowski) << line;
    pairs += wiki || bartowski ? 1 : 0;
  }
  EXPECT_GE(pairs, 2u);
  for (const char* words : {"fp4-g32, fp4-g128, fp4-g256, int4-g128, uniform (left out by --config)",
                            "speeds, peak memory and kernels (left out by --no-timing)"}) {
    EXPECT_NE(run.out.find(words), std::string::npos) << run.out;
  }
}

TEST_F(PageCommand, ThePageIsThereWhileTheCommandRuns) {
  std::atomic<bool> ended = false;
  RunResult run;
  std::thread running([&] {
    run = Page({"-q", "--no-timing", "-o", (folder_ / "page").string()});
    ended = true;
  });
  bool seen = false;
  while (!ended && !seen) {
    const auto page = ReadFile(folder_ / "page" / "RESULTS.md");
    seen = page && page->find("| Config |") != std::string::npos && page->find("still runs") != std::string::npos &&
           fs::exists(folder_ / "page" / "index.html");
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  running.join();
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_TRUE(seen);
  EXPECT_FALSE(fs::exists(folder_ / "results" / "index.html")) << "-o names another place";
}

TEST_F(PageCommand, ATextThatCannotBeHadStopsItUnlessItIsLeftOut) {
  gist_ = std::string("\x89PNG\0\1", 6);
  const RunResult run = Page({"-q"});
  EXPECT_EQ(run.exit_code, 3) << run.err;
  EXPECT_NE(run.err.find("--page needs both wikitext2 and bartowski-v3 unless --calibration"), std::string::npos)
      << run.err;
  EXPECT_FALSE(fs::exists(folder_ / "results"));
  const RunResult one = Page({"-q", "--no-timing", "-c", "fp4-g32,mixed", "--calibration", "wikitext2"});
  EXPECT_EQ(one.exit_code, 0) << one.err;
  EXPECT_NE(one.out.find("calibration on bartowski-v3 (left out by --calibration)"), std::string::npos) << one.out;
}

// A link to itself where the model of a row should be stops that row.
TEST_F(PageCommand, WhatFailedIsNamedAndTheRestIsOnThePage) {
  const std::vector<std::string> more = {"--no-timing", "-c", "fp4-g32,fp4-g64,mixed", "--method", "gptq"};
  auto dry = more;
  dry.insert(dry.end(), {"--dry-run", "--json"});
  const Json rows = Json::parse(Page(dry).out)["rows"];
  ASSERT_EQ(rows.size(), 7u);
  EXPECT_EQ(rows[5]["name"], "fp4-g64 gptq, bartowski-v3");
  const fs::path blocked =
      folder_ / "results" / ".work" / ("fp4-g64-" + rows[5]["key"].get<std::string>().substr(0, 12));
  fs::create_directories(blocked.parent_path());
  fs::create_symlink(blocked, blocked);
  const RunResult run = Page(more);
  EXPECT_NE(run.exit_code, 0);
  EXPECT_NE(run.out.find("  failed: "), std::string::npos) << run.out;
  EXPECT_NE(run.out.find("  model: quality of fp4-g64 gptq, bartowski-v3\n"), std::string::npos) << run.out;
  EXPECT_NE(CalibrationLine("fp4-g32 gptq"), "") << Markdown();
}

TEST_F(PageCommand, FourModelsOfWhichOneFailsHaveAShortSummaryToo) {
  std::vector<std::string> more = {"--no-timing", "--samples", "2", "-c", "fp4-g32", "-q"};
  for (const std::string name : {"MistralForCausalLM", "Phi3ForCausalLM", "Qwen3ForCausalLM"}) {
    WriteTinyModel(folder_ / name, name.c_str());
    more.insert(more.end(), {"--model", (folder_ / name).string()});
  }
  auto dry = more;
  dry.insert(dry.end(), {"--dry-run", "--json"});
  const RunResult planned = PageWithoutPlans(dry);
  ASSERT_EQ(planned.exit_code, 0) << planned.err;
  const Json rows = Json::parse(planned.out)["rows"];
  ASSERT_EQ(rows.size(), 12u) << "the baseline and two texts of each";
  const fs::path blocked =
      folder_ / "results" / ".work" / ("fp4-g32-" + rows[1]["key"].get<std::string>().substr(0, 12));
  fs::create_directories(blocked.parent_path());
  fs::create_symlink(blocked, blocked);
  const RunResult run = PageWithoutPlans(more);
  EXPECT_NE(run.exit_code, 0);
  EXPECT_LE(LinesOf(run.out).size(), 20u) << run.out;
  EXPECT_NE(run.out.find("\nand 1 more model on the page\n"), std::string::npos) << run.out;
  EXPECT_NE(run.out.find("  failed: "), std::string::npos) << run.out;
}

TEST_F(PageCommand, APageOfSomeoneElseStopsItBeforeTheWork) {
  fs::create_directories(folder_ / "results");
  ASSERT_TRUE(WriteFileAtomic(folder_ / "results" / "index.html", "<p>mine</p>").ok());
  const RunResult run = Page({"-q"});
  EXPECT_EQ(run.exit_code, 3) << run.err;
  EXPECT_NE(run.err.find("index.html was not made by report generate"), std::string::npos) << run.err;
  EXPECT_EQ(Files().size(), 1u) << "nothing was measured";
}

TEST_F(PageCommand, OptionsThatContradictItAreRefused) {
  const auto refused = [&](const std::vector<std::string>& more, const std::string& words) {
    const RunResult run = Page(more);
    EXPECT_EQ(run.exit_code, 2) << run.err;
    EXPECT_NE(run.err.find(words), std::string::npos) << run.err;
  };
  refused({"--job", "0123456789ab"}, "--page and --job exclude each other");
  refused({"--emit", "make"}, "--page and --emit exclude each other");
  refused({"--method", "rtn"}, "the method rtn uses none");
  const RunResult output = RunProgram(Command("results", {"-o", "page"}));
  EXPECT_EQ(output.exit_code, 2) << output.err;
  const RunResult windows = RunProgram(Command("results", {"--calibration-windows", "8"}));
  EXPECT_EQ(windows.exit_code, 2) << windows.err;
}

}  // namespace
}  // namespace marlin
