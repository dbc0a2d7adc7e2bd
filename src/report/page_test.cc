#include "report/page.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/test_text.h"
#include "records/test_records.h"
#include "report/plots.h"
#include "report/row_programs.h"
#include "report/summary.h"
#include "report/test_page.h"

namespace marlin {
namespace {

using test::CellUnder;
using test::Scene;
using test::Shape;

// Compares with src/report/testdata/<name>; with UPDATE_GOLDEN set in the environment it writes the file instead.
void ExpectGolden(const std::string& name, const std::string& page) {
  const std::string path = std::string(MARLIN_SOURCE_DIR) + "/src/report/testdata/" + name;
  if (std::getenv("UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path) << page;
    GTEST_SKIP() << "wrote " << path;
  }
  std::ifstream file(path);
  std::stringstream golden;
  golden << file.rdbuf();
  EXPECT_EQ(page, golden.str()) << "if the change is meant: UPDATE_GOLDEN=1 marlin_report_test, then read the diff";
}

// A few windows with sums one can check by hand: every PPL is a power, every time a round number.
std::vector<StoredRecord> HandMadeRecords() {
  Scene scene;
  scene.windows = 4;
  scene.windows_total = 4;
  std::vector<StoredRecord> records = test::SevenRecords(scene);
  records.resize(3);
  const double nll[] = {std::log(20.0), std::log(21.0), std::log(22.0)};
  const double ms[] = {10, 5, 4};
  for (std::size_t i = 0; i < records.size(); ++i) {
    Record& record = records[i].record;
    record.perplexity->window_nll.assign(4, 511 * nll[i]);
    record.perplexity->half->window_nll.assign(4, 255 * nll[i]);
    record.throughput->prefill->samples_ns.assign(100, 512e6);
    record.throughput->decode->samples_ns.assign(100, ms[i] * 1e6);
  }
  records[1].record.kernels = test::MakeKernels("fp4-g32");
  for (record::Kernel& kernel : records[1].record.kernels->shapes) {
    kernel.samples_ns.assign(100, static_cast<double>(kernel.flops) / 200);
  }
  records[1].record.limits = record::Limits{50, 400, "avx512"};
  return records;
}

TEST(Page, GoldenSmall) {
  PageOptions options;
  options.records_link = "results/";
  options.plots = {"ppl_vs_compression", "throughput_comparison"};
  ExpectGolden("small.md", PageOf(HandMadeRecords(), options));
}

TEST(Page, GoldenEmpty) { ExpectGolden("empty.md", PageOf({})); }

TEST(Page, EmptyFolderGivesTheThreeCommands) {
  const std::string page = PageOf({});
  EXPECT_TRUE(Has(page, "No benchmark results found yet"));
  EXPECT_TRUE(Has(page, "metal-marlin bench comparison"));
  EXPECT_TRUE(Has(page, "metal-marlin eval perplexity ./path/to/model --samples 100"));
  EXPECT_TRUE(Has(page, "metal-marlin report generate ./benchmarks/results/"));
}

TEST(Page, NamesTheCommandThatMakesItAgain) {
  PageOptions options;
  options.commands.update = "metal-marlin report generate some/results -o 'my report'";
  EXPECT_TRUE(Has(PageOf(test::SevenRecords(), options),
                  "Run `metal-marlin report generate some/results -o 'my report'` to update."));
  EXPECT_TRUE(Has(PageOf({}, options), "\nmetal-marlin report generate some/results -o 'my report'\n"));
}

TEST(Page, SameRecordsSameBytesInAnyOrder) {
  std::vector<StoredRecord> records = test::SevenRecords();
  const std::string page = PageOf(records);
  EXPECT_EQ(PageOf(records), page);
  std::reverse(records.begin(), records.end());
  EXPECT_EQ(PageOf(records), page);
}

// The numbers of one line, worked out here from the raw data by other means.
TEST(Page, TheCellsAreTheRecordsNumbers) {
  const std::string page = PageOf(HandMadeRecords());
  const std::pair<const char*, const char*> kCells[] = {
      {"Rank", "1"},
      {"Type", "FP4 E2M1"},
      {"Group", "32"},
      {"Bits/weight", "4.5000"},
      {"PPL base", "20.000"},                          // exp(log 20)
      {"PPL quant ± s.e.", "21.000 ± 0.000"},          // all windows alike
      {"Delta % [95 %]", "+5.00 [+5.00, +5.00] few"},  // 21 / 20
      {"Same top-1 %", "not measured"},
      {"Compression", "2.31x"},            // 269.03 MB / 116.41 MB
      {"Prefill tok/s (15/100)", "1000"},  // 512 tokens in 512 ms
      {"Decode tok/s (15/100)", "200"},    // 5 ms
      {"Layers GFLOP/s (15/100)", "200"},  // of the kernels at m = 512
      {"Mean ms", "512"},
      {"Size MB", "116.4"},
  };
  for (const auto& [title, text] : kCells) EXPECT_EQ(CellUnder(page, title, "fp4-g32"), text) << title;
  EXPECT_TRUE(Has(page, "| 1 | **[fp4-g32](")) << "the best row is in bold";
}

TEST(Page, EveryLineOfATableNamesItsRecord) {
  const std::vector<StoredRecord> records = test::SevenRecords();
  const std::string page = PageOf(records);
  for (const StoredRecord& stored : records) {
    EXPECT_GE(Count(page, "](" + stored.file + ")"), 8) << stored.file;  // row, details, sizes, timings, appendix
    EXPECT_TRUE(Has(page, "[" + stored.record.id.substr(0, 12) + "](" + stored.file + ")")) << "appendix";
    EXPECT_TRUE(Has(page, stored.record.command));
  }
  for (const test::MarkdownTable& table : test::TablesOf(page)) {
    const bool of_rows = table[0][0] == "Config" || table[0][0] == "Rank" || table[0][0] == "Record";
    for (std::size_t i = 2; of_rows && i < table.size(); ++i) {
      EXPECT_TRUE(Has(table[i][0] + table[i][1], ".json)")) << table[i][0];
    }
  }
}

// Changing a record changes the lines that name it and no other line with numbers in the detail table.
TEST(Page, ARecordDecidesItsOwnLineOnly) {
  std::vector<StoredRecord> records = test::SevenRecords();
  const auto details = [](const std::string& page) {
    std::vector<std::string> lines;
    std::stringstream stream(page.substr(page.find("## 2."), page.find("## 3.") - page.find("## 2.")));
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
  };
  const std::vector<std::string> before = details(PageOf(records));
  for (double& x : records[6].record.throughput->decode->samples_ns) x *= 2;
  const std::vector<std::string> after = details(PageOf(records));
  ASSERT_EQ(before.size(), after.size());
  int changed = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (before[i] == after[i]) continue;
    ++changed;
    EXPECT_TRUE(Has(after[i], records[6].file)) << after[i];
  }
  EXPECT_EQ(changed, 3);  // the row, and the decode timing in two tables
}

// A cell that begins with the number 0, with or without sign and decimals.
bool HasZeroCell(const std::string& page) {
  for (std::size_t at = page.find("| "); at != std::string::npos; at = page.find("| ", at + 1)) {
    std::size_t end = at + 2;
    if (page[end] == '+' || page[end] == '-') ++end;
    if (page[end] != '0') continue;
    end = page[end + 1] == '.' ? page.find_first_not_of('0', end + 2) : end + 1;
    if (end < page.size() && (page[end] == ' ' || page[end] == 'x')) return true;
  }
  return false;
}

TEST(Page, WhatIsNotMeasuredSaysSoAndIsNeverZero) {
  std::vector<StoredRecord> records = test::SevenRecords();
  for (StoredRecord& stored : records) {
    stored.record.perplexity.reset();
    stored.record.throughput.reset();
    stored.record.size.peak_rss_decode_bytes.reset();
    stored.record.machine.load_before.reset();
    stored.record.machine.load_after.reset();
    stored.record.machine.clock_mhz_before.reset();
    stored.record.machine.clock_mhz_after.reset();
  }
  const std::string page = PageOf(records);
  EXPECT_TRUE(Has(page, "No perplexity is measured yet"));
  EXPECT_TRUE(Has(page, "Throughput is not measured"));
  EXPECT_EQ(Count(page, "| not measured (no perplexity) |"), 6);
  EXPECT_FALSE(HasZeroCell(page));
  EXPECT_TRUE(HasZeroCell("| a | +0.00 [") && HasZeroCell("| 0x |") && !HasZeroCell("| 0.10 |"));
}

TEST(Page, SectionsWithoutDataNameTheCommand) {
  const std::string page = PageOf(test::SevenRecords());
  EXPECT_TRUE(Has(page, "## 3. Uniform and mixed precision\n\nNot measured: no record"));
  EXPECT_TRUE(Has(page, "## 4. WikiText-2 and Bartowski v3 calibration\n\nNot measured: no record"));
  EXPECT_TRUE(Has(page, "## 5. Plots\n\nPerplexity delta against compression: not measured."));
}

TEST(Page, MissingGnuplotIsExplained) {
  PageOptions options;
  for (const Plot& plot : Plots()) options.why_not_drawn[plot.name] = "gnuplot cannot be started; install it";
  EXPECT_TRUE(Has(PageOf(test::SevenRecords(), options), "not drawn. gnuplot cannot be started; install it"));
}

TEST(Page, WithoutABaselineThereIsNoDelta) {
  std::vector<StoredRecord> records = test::SevenRecords();
  records.erase(records.begin());
  const std::string page = PageOf(records);
  EXPECT_EQ(Count(page, "not measured (no baseline of this model was measured)"), 6);
  EXPECT_TRUE(Has(page, "not measured (no row has a delta or KL)"));
}

TEST(Page, QuickTimingsHaveTheirOwnColumns) {
  Scene quick;
  quick.quick_timing = true;
  std::vector<StoredRecord> records = test::SevenRecords();
  records[2] = test::Stored(test::MakeRecord(quick, test::SevenShapes()[2]));
  const std::string page = PageOf(records);
  EXPECT_TRUE(Has(page, "Compression | Decode tok/s (15/100) |"));
  EXPECT_TRUE(Has(page, "quick-2/8: 2 warm-up and 8 measured iterations"));
  EXPECT_TRUE(Has(page, "quick-10/60: 10 warm-up and 60 measured iterations"));
  EXPECT_TRUE(Has(page, "quick-10/60: mean of 60 iterations after 10 warm-up iterations"));
  EXPECT_EQ(CellUnder(page, "Prefill tok/s (15/100)", "fp4-g64"), "not measured");
  EXPECT_EQ(CellUnder(page, "Decode tok/s (15/100)", "fp4-g64"), "not measured");
  EXPECT_NE(CellUnder(page, "Prefill tok/s (quick-2/8)", "fp4-g64"), "not measured");
  EXPECT_NE(CellUnder(page, "Decode tok/s (quick-10/60)", "fp4-g64"), "not measured");
}

TEST(Page, OneProtocolOnTwoMachinesHasTwoColumns) {
  std::vector<StoredRecord> records = test::SevenRecords();
  records[2].record.machine.cpu = "Other CPU";
  const std::string page = PageOf(records);
  EXPECT_TRUE(Has(page, "Decode tok/s (15/100, setting 1)"));
  EXPECT_TRUE(Has(page, "Decode tok/s (15/100, setting 2)"));
}

// Decode was timed in eight rounds once; such a record keeps columns of its own.
TEST(Page, OneNameForPrefillAndTwoForDecodeAreFourColumns) {
  Scene quick;
  quick.quick_timing = true;
  std::vector<StoredRecord> records = test::SevenRecords(quick);
  record::Decode& decode = *records[2].record.throughput->decode;
  decode.protocol.reset();
  decode.samples_ns.resize(8);
  const std::string page = PageOf(records);
  EXPECT_TRUE(Has(page, "| Decode tok/s (quick-10/60) |")) << page;
  EXPECT_TRUE(Has(page, "| Decode tok/s (quick-2/8) |")) << page;
  EXPECT_TRUE(Has(page, "| Prefill tok/s (quick-2/8, setting 1) | Prefill tok/s (quick-2/8, setting 2) |")) << page;
}

TEST(Page, TwoModelsAndTwoProtocolsHaveTheirOwnTables) {
  Scene other;
  other.model = "Another-1B";
  other.windows = 20;
  std::vector<StoredRecord> records = test::SevenRecords();
  for (StoredRecord& stored : test::SevenRecords(other)) records.push_back(std::move(stored));
  const std::string page = PageOf(records);
  EXPECT_TRUE(Has(page, "### Another-1B\n"));
  EXPECT_TRUE(Has(page, "### SmolLM2-135M-Instruct\n"));
  EXPECT_EQ(Count(page, "| Model | Best config |"), 2);
  other.windows = 40;
  records.resize(7);
  for (StoredRecord& stored : test::SevenRecords(other)) records.push_back(std::move(stored));
  EXPECT_EQ(Count(PageOf(records), "| Model | Best config |"), 1);
}

TEST(Page, ASourceSmallerThanEveryRowIsNamed) {
  std::vector<StoredRecord> records = HandMadeRecords();
  constexpr const char* kSentence = "are smaller than those of every row here";
  std::uint64_t smallest = records.front().record.size.model_bytes;
  for (const StoredRecord& stored : records) smallest = std::min(smallest, stored.record.size.model_bytes);
  for (StoredRecord& stored : records) stored.record.model.source_bytes = smallest;
  EXPECT_FALSE(Has(PageOf(records), kSentence)) << "as small is not smaller";
  for (StoredRecord& stored : records) stored.record.model.source_bytes = smallest - 1;
  EXPECT_TRUE(Has(PageOf(records), kSentence));
}

TEST(Page, WhatWasAcceptedStandsBesideTheRow) {
  std::vector<StoredRecord> records = HandMadeRecords();
  EXPECT_FALSE(Has(PageOf(records), "‡"));
  for (StoredRecord& stored : records)
    stored.record.model.accepted_unknown = {"attention_multiplier", "x.q_norm.weight"};
  const std::string page = PageOf(records);
  EXPECT_TRUE(Has(page, "fp4-g32 ‡")) << page;
  EXPECT_TRUE(Has(page, "‡ measured without attention_multiplier, x.q_norm.weight")) << page;
}

TEST(Page, TheLinesThatMakeARowStandInAFold) {
  PageOptions options;
  options.how_to_make = [](const Record& record) {
    return record.config.id == "fp4-g64" ? std::vector<std::string>{"metal-marlin quantize MODEL", "# a note"}
                                         : std::vector<std::string>{};
  };
  const std::string page = PageOf(test::SevenRecords(), options);
  EXPECT_TRUE(Has(page,
                  "How to make these rows</summary>\n\nfp4-g64:\n\n```\nmetal-marlin quantize MODEL\n# a note\n"
                  "```\n\nMODEL is the file"))
      << page;
  EXPECT_FALSE(Has(PageOf(test::SevenRecords()), "How to make these rows"));
}

TEST(Page, WordsOfTheRowsAreExplained) {
  std::vector<StoredRecord> records = test::SevenRecords();
  PageOptions options;
  options.methods = {{"rtn", "rounds"}, {"gptq", "spreads errors"}, {"awq", "scales"}, {"mse", "searches"}};
  EXPECT_TRUE(Has(PageOf(records, options), "- rtn: rounds.\n"));
  EXPECT_FALSE(Has(PageOf(records, options), "spreads errors"));
  EXPECT_FALSE(Has(PageOf(records, options), "Calibration text, in"));
  records[2].record.config.method = "awq+gptq";
  records[2].record.config.calibration = record::Calibration{"c4", "abc", 128, 512};
  const std::string page = PageOf(records, options);
  for (const char* words :
       {"- rtn: rounds.\n", "- gptq: spreads errors.\n", "- awq: scales.\n", "Calibration text, in"}) {
    EXPECT_TRUE(Has(page, words)) << words;
  }
  EXPECT_FALSE(Has(page, "mse: searches"));
  EXPECT_TRUE(Has(page, "- Runs in: the programs that run a row's formats"));
  EXPECT_TRUE(Has(page, "as of " + std::string(kRuntimesAsOf)));
}

TEST(Page, UnstableTimingsAreMarked) {
  std::vector<StoredRecord> records = test::SevenRecords();
  std::vector<double>& samples = records[3].record.throughput->decode->samples_ns;
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i] = i % 2 == 0 ? 4e6 : 6e6;
  EXPECT_TRUE(Has(PageOf(records), "| 200 unstable |"));
}

// Six stalls of a hundred: trimmed away, so the mean is that of the rest; the mark tells of them.
TEST(Page, StallsThatWereTrimmedAreMarked) {
  std::vector<StoredRecord> records = test::SevenRecords();
  std::vector<double>& samples = records[3].record.throughput->decode->samples_ns;
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i] = i < 6 ? 20e6 : 5e6;
  EXPECT_TRUE(Has(PageOf(records), "| 200 unstable |"));
}

TEST(Page, HostileNamesStayInTheirCells) {
  const std::string evil = "a|b`c'd\"\n# e\\f<script>@g$h$ [x](javascript:y) **z** %s";
  std::vector<StoredRecord> records = test::SevenRecords();
  for (StoredRecord& stored : records) {
    stored.record.model.name = evil;
    stored.record.machine.cpu = evil;
    stored.record.command = "metal-marlin ```\n# " + evil;
    stored.file = "a b|c).json";
  }
  const std::string whole = PageOf(records);
  EXPECT_TRUE(Has(whole, "\n````\nmetal-marlin ``` # a|b"));
  const std::string page = whole.substr(0, whole.find("\n````\n"));  // in the command block all of it is only text
  EXPECT_FALSE(Has(page, "<script>@"));
  EXPECT_FALSE(Has(page, "\n# e"));
  EXPECT_FALSE(Has(page, "[x](javascript"));
  EXPECT_FALSE(Has(page, "**z**\n"));
  EXPECT_TRUE(Has(page, "(a%20b%7Cc%29.json)"));
  // Every table line has as many cells as its head.
  std::size_t columns = 0;
  std::stringstream stream(page);
  for (std::string line; std::getline(stream, line);) {
    if (!line.starts_with("|")) {
      columns = 0;
      continue;
    }
    const auto cells = static_cast<std::size_t>(std::count(line.begin(), line.end(), '|'));
    if (columns == 0) columns = cells;
    EXPECT_EQ(cells, columns) << line;
  }
}

// Controls, marks of direction and bytes that are no UTF-8, in every text of a record.
TEST(Page, CharactersThatAreNotSeenDoNotReachIt) {
  const std::string unseen =
      std::string("a\0b", 3) + "\x1b[31m\x7f\xc2\x85\xe2\x80\xae\xe2\x81\xa6\xe2\x80\xa8\xef\xbb\xbf\xff\xc3";
  std::vector<StoredRecord> records = test::SevenRecords();
  for (StoredRecord& stored : records) {
    Record& record = stored.record;
    for (std::string* text : {&record.command, &record.program.version, &record.program.flags, &record.machine.cpu,
                              &record.machine.os, &record.model.name, &record.model.source_type, &record.config.label,
                              &record.config.display_name, &record.config.method, &record.perplexity->text.name,
                              &record.perplexity->bos, &record.throughput->backend, &stored.file}) {
      *text += unseen;
    }
  }
  const std::string page = PageOf(records);
  for (const char* bytes :
       {"\x1b", "\x7f", "\xc2\x85", "\xe2\x80\xae", "\xe2\x81\xa6", "\xe2\x80\xa8", "\xef\xbb\xbf", "\xff", "\r"}) {
    EXPECT_FALSE(Has(page, bytes));
  }
  EXPECT_EQ(page.find('\0'), std::string::npos);
  EXPECT_TRUE(Has(page, "a b \\[31m") || Has(page, "a b [31m")) << "what is seen stays";
  EXPECT_TRUE(Has(page, "\xef\xbf\xbd")) << "and what is not leaves a mark";
  EXPECT_TRUE(Has(page, "±")) << "other letters stay";
}

// The largest year of all dates like 2025-01-31; 0 when there are none.
int LatestYear(const std::string& page) {
  int latest = 0;
  for (std::size_t at = page.find("-"); at != std::string::npos; at = page.find("-", at + 1)) {
    if (at < 4 || at + 3 >= page.size() || page[at + 3] != '-') continue;
    const std::string year = page.substr(at - 4, 4);
    if (year.find_first_not_of("0123456789") == std::string::npos) latest = std::max(latest, std::stoi(year));
  }
  return latest;
}

TEST(Page, NothingOfTheClockIsOnIt) {
  const std::string page = PageOf(test::SevenRecords());
  EXPECT_TRUE(Has(page, "the newest of 2025-03-01T10:00:00Z"));
  EXPECT_LE(LatestYear(page), 2025);
  EXPECT_EQ(LatestYear("2025-01-01, 2031-12-31"), 2031);
}

TEST(Summary, TextHasTheRowsAndMarksTheBest) {
  const std::string text = SummaryText(Analyze(test::SevenRecords()));
  EXPECT_TRUE(Has(text, "SmolLM2-135M-Instruct: WikiText-2 test, protocol ppl-512 v1"));
  const std::size_t star = text.find("\n* ");
  ASSERT_NE(star, std::string::npos);
  const std::size_t rank = text.find_first_not_of(' ', star + 2);
  EXPECT_EQ(text.substr(rank, 12), "1  int4-g64 ");
  EXPECT_TRUE(Has(text, "f16 (dequantized from Q4_1)"));
  EXPECT_EQ(SummaryText(Analyze({})), "No benchmark results found yet.\n");
}

TEST(Summary, DivergenceHasColumnsOnceItIsMeasured) {
  std::vector<StoredRecord> records = test::SevenRecords();
  EXPECT_EQ(SummaryText(Analyze(records)).find("KL"), std::string::npos);
  records[1].record.divergence = test::MakeDivergence({}, test::SevenShapes()[1]);
  for (double& kl : records[1].record.divergence->window_kl) kl = 511 * 0.0327;
  for (std::uint64_t& same : records[1].record.divergence->window_same_top) same = 511;
  const std::string text = SummaryText(Analyze(records));
  EXPECT_NE(text.find("KL mean, 1e-3 nats [95 %]"), std::string::npos) << text;
  EXPECT_NE(text.find("32.70 [32.70, 32.70]"), std::string::npos) << text;
  EXPECT_NE(text.find("100.00"), std::string::npos) << text;
}

TEST(Summary, JsonHasNullForWhatIsNotMeasured) {
  std::vector<StoredRecord> records = test::SevenRecords();
  records[3].record.throughput.reset();
  const nlohmann::ordered_json json = SummaryJson(Analyze(records));
  const auto& rows = json["models"][0]["results"][0]["rows"];
  ASSERT_EQ(rows.size(), 7u);
  EXPECT_TRUE(rows[0]["delta_percent"].is_null());
  EXPECT_EQ(rows[1]["rank"], 1);
  EXPECT_EQ(rows[1]["best"], true);
  int without = 0;
  for (const auto& row : rows) without += row["decode_tok_s"].is_null() ? 1 : 0;
  EXPECT_EQ(without, 1);
}

}  // namespace
}  // namespace marlin
