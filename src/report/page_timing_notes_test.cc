#include <gtest/gtest.h>

#include "base/test_text.h"
#include "records/test_records.h"
#include "report/page_sections.h"
#include "report/plots.h"
#include "report/summary.h"
#include "report/test_page.h"

namespace marlin {
namespace {

// The seven rows and the same configurations by another method, of an older run that does not name itself.
std::vector<StoredRecord> TwoRuns() {
  std::vector<StoredRecord> records = test::SevenRecords();
  for (std::size_t i = 1; i < 7; ++i) {
    records[i].record.throughput->run = "aaaa";
    Record record = records[i].record;
    record.id = Sha256Hex(record.id);
    record.key = "key-" + record.id;
    record.config.method = "mse";
    record.throughput->run.reset();
    records.push_back(test::Stored(std::move(record)));
  }
  records[0].record.throughput->run = "aaaa";
  return records;
}

TEST(TimingNotes, OneRunNeedsNoWord) {
  EXPECT_EQ(Count(PageOf(test::SevenRecords()), "were timed interleaved"), 0);
  EXPECT_EQ(Count(PageOf(test::SevenRecords()), "Warning"), 0);
}

TEST(TimingNotes, RowsOfSeveralRunsAreTold) {
  std::vector<StoredRecord> records = TwoRuns();
  const std::string page = PageOf(records);
  EXPECT_EQ(Count(page, "Speeds (15/100) come from 2 runs. Only rows of one run were timed interleaved"), 1) << page;
  EXPECT_EQ(Count(page, "Timed interleaved with each other, not with the rest: int4-g64 mse, "), 1) << page;
  EXPECT_EQ(Count(page, "Timed interleaved with each other"), 1) << "the longest run is the rest";
  EXPECT_EQ(Count(SummaryText(Analyze(records)), "come from 2 runs"), 1);
  EXPECT_EQ(Count(ThroughputFigure(Analyze(records))->script, "timed in 2 runs"), 1);
  records.erase(records.begin() + 3, records.end() - 3);
  EXPECT_EQ(Count(ScatterFigure(Analyze(records))->script,
                  "'methods of equal size moved apart; tok/s: decode (15/100); timed in 2 runs'"),
            1);
}

// What an older record says of its run: the command, and the machine around it.
TEST(TimingNotes, OlderRecordsAreToldApartByCommandAndMachine) {
  std::vector<StoredRecord> records = test::SevenRecords();
  records[2].record.machine.load_before = 0.2;
  records[4].record.command += " --another";
  const std::string page = PageOf(records);
  EXPECT_EQ(Count(page, "come from 3 runs"), 1) << page;
  EXPECT_EQ(Count(page, "Timed alone: fp4-g64, fp4-g256."), 1) << page;
}

TEST(TimingNotes, RowsThatDidNotTakeTurnsStandAlone) {
  std::vector<StoredRecord> records = test::SevenRecords();
  for (StoredRecord& stored : records) stored.record.throughput->interleaved = false;
  EXPECT_EQ(Count(PageOf(records), "come from 7 runs"), 1);
  EXPECT_EQ(Count(PageOf(records), "Each row was timed alone."), 1);
  for (std::size_t i = 1; i < 7; ++i) records[i].record.throughput.reset();
  EXPECT_EQ(Count(PageOf(records), "were timed interleaved"), 0) << "a single timed row has nothing beside it";
}

TEST(TimingNotes, ALoadedMachineIsSaidUnderTheSpeeds) {
  std::vector<StoredRecord> records = test::SevenRecords();
  records[3].record.machine.load_after = 2.49;
  EXPECT_EQ(Count(PageOf(records), "other programs"), 0) << "two threads of our own";
  records[3].record.machine.load_after = 7.94;
  const std::string one = PageOf(records);
  EXPECT_EQ(Count(one, "while fp4-g128 was timed (load up to 7.9 on 2 threads)"), 1) << one;
  records[3].record.throughput.reset();
  EXPECT_EQ(Count(PageOf(records), "other programs"), 0) << "no speed, no warning";
  for (StoredRecord& stored : records) stored.record.machine.load_before = 9;
  const std::string all = PageOf(records);
  EXPECT_EQ(Count(all, "while these rows were timed (load up to 9.0 on 2 threads)"), 2) << "detail and summary" << all;
  EXPECT_EQ(Count(SummaryText(Analyze(records)), "load up to 9.0"), 1);
}

TEST(TimingNotes, ImportedRowsAreExplained) {
  std::vector<StoredRecord> records = test::SevenRecords();
  EXPECT_EQ(Count(PageOf(records), "Imported: "), 0);
  Record& record = records[6].record;
  record.config.kind = record::Kind::kImported;
  record.config.display_name = "llama.cpp Q4_K_M";
  record.config.label = "GGUF Q4_K";
  record.config.method = "imported";
  record.throughput.reset();
  const std::string page = PageOf(records);
  EXPECT_EQ(Count(page, "Imported: llama.cpp Q4_K_M. Another program quantized this file from the same model."), 1)
      << page;
}

}  // namespace
}  // namespace marlin
