#include <gtest/gtest.h>

#include "base/test_text.h"
#include "records/import_results.h"
#include "records/test_imports.h"
#include "records/test_records.h"
#include "report/html_page.h"
#include "report/summary.h"
#include "report/test_page.h"

namespace marlin {
namespace {

StoredExternal Imported(const std::string& text, const std::string& file) {
  ExternalRecord record = (*ImportResults(text, file, file, "metal-marlin report import " + file))[0];
  std::string name = RecordFileName(record);
  return {std::move(record), std::move(name)};
}

PageOptions WithImports() {
  PageOptions options;
  options.records_link = "results/";
  options.external = {Imported(test::LlamaBenchJson(), "bench.json"), Imported(test::LmEvalJson(), "results_1.json")};
  return options;
}

// The part of the page between this heading and the next one of its level.
std::string Section(const std::string& page, const std::string& heading) {
  const std::size_t begin = page.find("\n## " + heading + "\n");
  if (begin == std::string::npos) return "";
  return page.substr(begin, page.find("\n## ", begin + 4) - begin);
}

TEST(PageExternal, NumbersStandInASectionOfTheirOwn) {
  const PageOptions options = WithImports();
  const std::string page = PageOf(test::SevenRecords(), options);
  const std::string section = Section(page, "Measured by other programs");
  EXPECT_LT(page.find("## 2. Per-model detail"), page.find("## Measured by other programs"));
  EXPECT_LT(page.find("## Measured by other programs"), page.find("## 3. "));
  const std::string link = "results/" + RelativeAddress(options.external[0].file);
  EXPECT_TRUE(Has(section, "| [pp512](" + link +
                               ") | 310.50 | tok/s | 2.50 (standard deviation) | "
                               "n_prompt 512, n_gen 0, n_depth 0, n_batch 2048"))
      << section;
  EXPECT_TRUE(Has(section, "llama-bench build 6001 (1234abcd), measured 2025-06-01T12:00:05Z.")) << section;
  EXPECT_TRUE(Has(section, "backend CPU, Made-up CPU 9"));
  EXPECT_TRUE(Has(section, "lm-evaluation-harness 0.4.8 (git abcd123)"));
  EXPECT_TRUE(Has(section,
                  "| 0.62500 | of the metric | 0.0125 (standard error) | task version 1.0, filter none, 0-shot, "
                  "1500 of 1500 samples, higher is better |"))
      << section;
  EXPECT_TRUE(Has(section, "metal-marlin report import bench.json"));
}

// The rest of the page is the same with and without them.
TEST(PageExternal, NothingElseChanges) {
  PageOptions options = WithImports();
  std::string with = PageOf(test::SevenRecords(), options);
  const std::string section = Section(with, "Measured by other programs");
  ASSERT_FALSE(section.empty());
  with.erase(with.find(section), section.size());
  options.external.clear();
  EXPECT_EQ(with, PageOf(test::SevenRecords(), options));
}

TEST(PageExternal, TheyFollowAPageWithoutOtherRecords) {
  const std::string page = PageOf({}, WithImports());
  EXPECT_TRUE(Has(page, "No benchmark results found yet"));
  EXPECT_TRUE(Has(Section(page, "Measured by other programs"), "[tg128]("));
}

TEST(PageExternal, TablesAreNarrowAndEveryLineLinks) {
  const std::string section = Section(PageOf({}, WithImports()), "Measured by other programs");
  const auto tables = test::TablesOf(section);
  EXPECT_EQ(tables.size(), 3u);
  for (const test::MarkdownTable& table : tables) {
    EXPECT_LE(table[0].size(), 7u);
    for (std::size_t i = 2; i < table.size(); ++i) EXPECT_TRUE(Has(table[i][0], ".json)")) << table[i][0];
  }
}

TEST(PageExternal, HtmlShowsTheSame) {
  const PageOptions options = WithImports();
  const std::vector<StoredRecord> records = test::SevenRecords();
  const std::string page = RenderHtmlPage(Analyze(records), options);
  EXPECT_TRUE(Has(page, "<h2>Measured by other programs</h2>"));
  EXPECT_TRUE(Has(page, ">tg128</a>"));
  EXPECT_TRUE(Has(page, "2.50 (standard deviation)"));
  const std::size_t data = page.find("id=\"data\">");
  EXPECT_EQ(page.find(options.external[0].record.id, data), std::string::npos) << "no chart has a point of it";
}

TEST(PageExternal, TextsOfStrangersStayText) {
  PageOptions options = WithImports();
  const std::string hostile =
      "<script>alert(1)</script> | `x` \xe2\x80\xae\n## Heading [a](b) " + std::string(200, 'w');
  for (StoredExternal& stored : options.external) {
    ExternalRecord& x = stored.record;
    x.model = {hostile, hostile};
    x.program = {hostile, hostile};
    x.source.file = x.command = hostile;
    x.machine = x.settings = x.measured = hostile;
    for (external::Measurement& measured : x.measurements) {
      measured.what = measured.protocol = hostile;
      measured.unit = hostile;
      if (measured.error_kind) measured.error_kind = hostile;
    }
  }
  const std::string page = PageOf({}, options);
  EXPECT_FALSE(Has(page, "\n## Heading"));
  EXPECT_FALSE(Has(page, "\xe2\x80\xae"));
  EXPECT_FALSE(Has(page, "[a](b)"));
  for (const test::MarkdownTable& table : test::TablesOf(page)) {
    for (const auto& line : table) EXPECT_TRUE(line.size() >= table[0].size()) << "escaped bars stay in their cells";
  }
  const std::string html = RenderHtmlPage(Analyze({}), options);
  EXPECT_FALSE(Has(html, "<script>alert"));
  EXPECT_FALSE(Has(html, "\xe2\x80\xae"));
}

}  // namespace
}  // namespace marlin
