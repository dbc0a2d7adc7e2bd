// index.html: its data, its bytes, and its behaviour in a browser.
#include "report/html_page.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/sha256.h"
#include "records/import_results.h"
#include "records/test_imports.h"
#include "records/test_records.h"
#include "report/page_data.h"
#include "report/plots.h"
#include "report/row_programs.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using PageJson = nlohmann::json;

// Seven configurations with KL, kernels of one of them, a mixed plan, and one configuration by two calibration texts.
std::vector<StoredRecord> FullRecords(const std::string& model, std::uint64_t seed) {
  test::Scene scene;
  scene.model = model;
  scene.seed = seed;
  std::vector<StoredRecord> records;
  for (const test::Shape& shape : test::SevenShapes()) {
    Record record = test::MakeRecord(scene, shape);
    if (shape.config == "f16") {
      record.noise_floor = test::MakeNoiseFloor();
    } else {
      record.perplexity->baseline_id = records[0].record.id;
      record.divergence = test::MakeDivergence(scene, shape);
    }
    if (shape.config == "fp4-g64") record.kernels = test::MakeKernels("fp4-g64");
    records.push_back(test::Stored(std::move(record)));
  }
  const auto add = [&](const std::string& name, auto change) {
    Record record = records[3].record;
    record.id = Sha256Hex(model + name);
    record.key = "key-" + record.id;
    change(record);
    records.push_back(test::Stored(std::move(record)));
  };
  for (const char* text : {"wikitext2", "bartowski-v3"}) {
    add(text, [&](Record& record) {
      record.config.method = "gptq";
      record.config.calibration = record::Calibration{text, Sha256Hex(text), 128, 512};
    });
  }
  add("mixed", [](Record& record) {
    record.config.id = record.config.display_name = record.config.label = "mixed";
    record.config.kind = record::Kind::kMixed;
    record.config.plan_sha256 = Sha256Hex("plan");
    record.config.budget_bytes = record.size.quantized_tensor_bytes;
    record.plan = record::Plan{{"wikitext2", Sha256Hex("wikitext2"), 32, 512}, "mse", "fp4-g128", {}};
    for (std::uint64_t layer = 0; layer < 3; ++layer) {
      for (const char* unit : {"q k v", "o", "gate up", "down"}) {
        record.plan->units.push_back({layer, unit, "int4-g64", 1000, 1e-3, 1e-3 * static_cast<double>(layer + 1)});
      }
    }
  });
  return records;
}

std::vector<StoredRecord> OfModels(const std::vector<std::string>& names) {
  std::vector<StoredRecord> records;
  for (const std::string& name : names) {
    for (StoredRecord& record : FullRecords(name, records.size() + 1)) records.push_back(std::move(record));
  }
  return records;
}

// Markup, 200 characters, a name from right to left with an override, quotes and a script's end.
std::vector<std::string> HostileNames() {
  return {"<script>alert(1)</script><img src=x onerror=alert(1)>", std::string(200, 'W'),
          "\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d \xe2\x80\xae-7B", "\"' onclick=\"x()\" </table></script><!-- \\u003c"};
}

std::string HtmlPageOf(const std::vector<StoredRecord>& records, const std::vector<StoredExternal>& external = {}) {
  const Analysis analysis = Analyze(records);
  PageOptions options;
  options.external = external;
  for (const Plot& plot : Plots()) {
    if (plot.figure(analysis)) options.plots.insert(plot.name);
  }
  return RenderHtmlPage(analysis, options);
}

TEST(PageData, HoldsTheNumbersOfTheRows) {
  const std::vector<StoredRecord> records = FullRecords("a model", 1);
  const Analysis analysis = Analyze(records);
  const PageJson data = PageJson::parse(PageData(analysis));
  ASSERT_EQ(data["groups"].size(), 1u);
  const PageJson& group = data["groups"][0];
  const ResultGroup& rows = analysis.models[0].groups[0];
  ASSERT_EQ(group["rows"].size(), rows.rows.size());
  EXPECT_TRUE(group["kl"]);
  EXPECT_NEAR(group["floor"].get<double>(), 6e-13, 1e-18);
  for (std::size_t i = 0; i < rows.rows.size(); ++i) {
    const PageJson& row = group["rows"][i];
    EXPECT_EQ(row["records"][0], rows.rows[i].record().id.substr(0, 12));
    EXPECT_EQ(row["baseline"], rows.rows[i].is_baseline());
    EXPECT_EQ(row["kl"].is_null(), !rows.rows[i].kl);
    if (rows.rows[i].kl) {
      EXPECT_NEAR(row["kl"][0].get<double>(), rows.rows[i].kl->mean, 1e-5 * rows.rows[i].kl->mean);
    }
    EXPECT_EQ(row["runs"], ProgramsOf(rows, rows.rows[i]));
    EXPECT_EQ(row["bytes"], rows.rows[i].record().size.model_bytes);
    EXPECT_EQ(data["commands"][row["command"].get<std::size_t>()], rows.rows[i].record().command);
  }
  EXPECT_EQ(group["mixed"].size(), 1u);
  EXPECT_EQ(group["calibration"][0]["rows"].size(), 2u);
  EXPECT_EQ(group["plans"][0]["cells"].size(), 12u);
  EXPECT_EQ(group["timings"].size(), 1u);
  // Equal figures share a rank, and say so.
  for (const PageJson& row : group["rows"]) {
    const auto same = [&](const PageJson& other) { return !row["rank"].is_null() && other["rank"] == row["rank"]; };
    EXPECT_EQ(row["tied"], std::ranges::count_if(group["rows"], same) > 1);
  }
}

TEST(PageData, NoTextEndsTheScript) {
  const std::string data = PageData(Analyze(OfModels(HostileNames())));
  EXPECT_EQ(data.find('<'), std::string::npos);
  EXPECT_EQ(data.find('\n'), std::string::npos);
  EXPECT_EQ(PageJson::parse(data)["models"].size(), 4u);
}

TEST(HtmlPage, SameRecordsSameBytesInAnyOrder) {
  std::vector<StoredRecord> records = OfModels({"a", "b"});
  const std::string page = HtmlPageOf(records);
  std::ranges::reverse(records);
  EXPECT_EQ(HtmlPageOf(records), page);
  EXPECT_NE(page.find(kGenerated), std::string::npos) << "else report generate would not replace it";
}

TEST(HtmlPage, TextsOfRecordsStayText) {
  const std::string page = HtmlPageOf(OfModels(HostileNames()));
  EXPECT_EQ(page.find("<script>alert"), std::string::npos);
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_EQ(page.find("\xe2\x80\xae"), std::string::npos);
  const std::string plain = HtmlPageOf(OfModels({"a", "b", "c", "d"}));
  for (const std::string_view tag : {"<script", "</script", "<table", "</table", "<section", "</section", "<!--"}) {
    const auto count = [&](const std::string& text) {
      std::size_t n = 0;
      for (std::size_t at = text.find(tag); at != std::string::npos; at = text.find(tag, at + 1)) ++n;
      return n;
    };
    EXPECT_EQ(count(page), count(plain)) << tag;
  }
}

// tools/check_page.py opens the pages in Chromium.
TEST(HtmlPage, WorksInABrowser) {
  const fs::path folder = fs::path(::testing::TempDir()) / fmt::format("html-page-{}", ::getpid());
  fs::remove_all(folder);
  fs::create_directories(folder);
  std::vector<std::string> many;
  for (int i = 0; i < 90; ++i) many.push_back(fmt::format("model-{:02}", i));
  std::vector<StoredRecord> ninety;
  for (const std::string& name : many) {
    test::Scene scene;
    scene.model = name;
    for (const test::Shape& shape : {test::BaselineShape(), test::SevenShapes()[3]}) {
      ninety.push_back(test::Stored(test::MakeRecord(scene, shape)));
    }
  }
  const std::vector<std::pair<std::string, std::vector<StoredRecord>>> sets = {
      {"empty", {}},
      {"one", {test::Stored(test::MakeRecord({}, test::BaselineShape()))}},
      {"hostile", OfModels(HostileNames())},
      {"ninety", ninety}};
  std::string command = "python3 '" MARLIN_SOURCE_DIR "/tools/check_page.py'";
  const ExternalRecord imported = (*ImportResults(test::LlamaBenchJson(), "b.json", "b.json", "command"))[0];
  for (const auto& [name, records] : sets) {
    const fs::path file = folder / (name + ".html");
    std::vector<StoredExternal> external;
    if (name == "one") external.push_back({imported, RecordFileName(imported)});
    ASSERT_TRUE(WriteFileAtomic(file, HtmlPageOf(records, external)).ok());
    command += " '" + file.string() + "'";
  }
  const fs::path log = folder / "log";
  const int status = std::system((command + " >'" + log.string() + "' 2>&1 </dev/null").c_str());
  const std::string said = *ReadFile(log);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << said;
  EXPECT_EQ(status, 0) << said;
  fs::remove_all(folder);
}

}  // namespace
}  // namespace marlin
