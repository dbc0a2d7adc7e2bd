// No table of the Markdown page is wide, whatever was measured.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/test_text.h"
#include "records/test_records.h"
#include "report/test_page.h"

namespace marlin {
namespace {

using Records = std::vector<StoredRecord>;

StoredRecord Changed(Record record, const std::string& suffix) {
  record.id = Sha256Hex(record.id + suffix);
  record.key = "key-" + record.id;
  return test::Stored(std::move(record));
}

// Every row timed with 1 to 6 threads, models and kernels.
Records ManySettings() {
  Records records;
  for (const StoredRecord& stored : test::SevenRecords()) {
    for (std::uint64_t threads = 1; threads <= 6; ++threads) {
      Record record = stored.record;
      record.machine.threads = threads;
      record.kernels = test::MakeKernels(record.config.id);
      record.limits = record::Limits{50, 400, "avx512"};
      records.push_back(Changed(std::move(record), std::to_string(threads)));
    }
  }
  return records;
}

Records WithKl() {
  Records records = test::SevenRecords();
  records[0].record.noise_floor = test::MakeNoiseFloor();
  for (std::size_t i = 1; i < records.size(); ++i) {
    records[i].record.divergence = test::MakeDivergence({}, test::SevenShapes()[i]);
  }
  return records;
}

// One plan, and one configuration calibrated on five texts.
Records PlansAndTexts() {
  Records records = WithKl();
  Record mixed = records[2].record;
  mixed.config.id = "mixed";
  mixed.config.display_name = "mixed";
  mixed.config.kind = record::Kind::kMixed;
  mixed.config.plan_sha256 = Sha256Hex("plan");
  mixed.config.budget_bytes = mixed.size.quantized_tensor_bytes;
  mixed.plan =
      record::Plan{{"wikitext2", "abc", 16, 512}, "mse", "fp4-g128", {{0, "o", "int4-g64", 1000, 0.002, 0.003}}};
  records.push_back(Changed(std::move(mixed), "mixed"));
  for (const char* text : {"wikitext2", "bartowski-v3", "c4", "code", "wikitext2-valid"}) {
    Record record = records[3].record;
    record.config.method = "gptq";
    record.config.calibration = record::Calibration{text, Sha256Hex(text), 128, 512};
    records.push_back(Changed(std::move(record), text));
  }
  return records;
}

Records TwoModels() {
  test::Scene other;
  other.model = "Another-1B";
  other.quick_timing = true;
  Records records = test::SevenRecords();
  for (StoredRecord& stored : test::SevenRecords(other)) records.push_back(std::move(stored));
  return records;
}

Records NothingMeasured() {
  Records records = test::SevenRecords();
  for (StoredRecord& stored : records) {
    stored.record.perplexity.reset();
    stored.record.throughput.reset();
  }
  return records;
}

const std::map<std::string, Records>& Sets() {
  static const std::map<std::string, Records> kSets = {{"seven", test::SevenRecords()},
                                                       {"many settings", ManySettings()},
                                                       {"diverging", WithKl()},
                                                       {"two models", TwoModels()},
                                                       {"plans and texts", PlansAndTexts()},
                                                       {"nothing measured", NothingMeasured()},
                                                       {"one", {test::SevenRecords()[1]}},
                                                       {"empty", {}}};
  return kSets;
}

TEST(PageWidth, NoTableHasMoreThanSevenColumns) {
  for (const auto& [name, records] : Sets()) {
    const std::string page = PageOf(records);
    for (const test::MarkdownTable& table : test::TablesOf(page)) {
      for (const std::vector<std::string>& line : table) {
        EXPECT_LE(line.size(), 7u) << name << ": " << table[0][0];
        EXPECT_EQ(line.size(), table[0].size()) << name << ": " << line[0];
      }
    }
    EXPECT_EQ(test::TablesOf(page).empty(), records.empty()) << name;
  }
}

// A line that belongs to a record links to it, in the main tables as in their further columns.
TEST(PageWidth, EveryLineOfARowLinksToARecord) {
  const std::set<std::string> of_no_record = {"CPU", "Version",
                                              "ID"};  // machines, programs, the list of configurations
  for (const auto& [name, records] : Sets()) {
    for (const test::MarkdownTable& table : test::TablesOf(PageOf(records))) {
      if (of_no_record.contains(table[0][0])) continue;
      for (std::size_t i = 2; i < table.size(); ++i) {
        bool links = false;
        for (const std::string& cell : table[i]) links = links || Has(cell, ".json)") || Has(cell, "not measured (");
        EXPECT_TRUE(links) << name << ": " << table[0][0] << ": " << table[i][0];
      }
    }
  }
}

// All that was measured with six numbers of threads is on the page: a column for each speed of each setting.
TEST(PageWidth, WhatDoesNotFitIsInFurtherColumns) {
  const std::string page = PageOf(ManySettings());
  for (int setting = 1; setting <= 6; ++setting) {
    for (const char* what : {"Prefill tok/s", "Decode tok/s", "Layers GFLOP/s"}) {
      const std::string title = std::string(what) + " (15/100, setting " + std::to_string(setting) + ")";
      EXPECT_NE(test::CellUnder(page, title, "fp4-g64"), "") << title;
      EXPECT_NE(test::CellUnder(page, title, "fp4-g64"), "not measured") << title;
    }
  }
}

// A line of text is a sentence or two.
TEST(PageWidth, NoTextIsLong) {
  for (const auto& [name, records] : Sets()) {
    std::stringstream stream(PageOf(records));
    for (std::string line; std::getline(stream, line);) {
      const bool in_table = line.starts_with("|");
      EXPECT_TRUE(in_table || line.size() <= 400) << name << ": " << line;
    }
  }
}

}  // namespace
}  // namespace marlin
