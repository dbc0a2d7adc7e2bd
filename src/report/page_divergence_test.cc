// Divergence on the page: in the rows, in the details, and where it was not measured.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/test_text.h"
#include "records/test_records.h"
#include "report/figures.h"
#include "report/page.h"
#include "report/summary.h"
#include "report/test_page.h"

namespace marlin {
namespace {

// The seven rows with a KL of a hundredth of (i + 1) nats in every window, 90 % same top-1, a floor of 1e-6 nats.
std::vector<StoredRecord> Diverging() {
  std::vector<StoredRecord> records = test::SevenRecords();
  records[0].record.noise_floor = test::MakeNoiseFloor();
  records[0].record.noise_floor->window_kl = {511 * 1e-6};
  for (std::size_t i = 1; i < records.size(); ++i) {
    record::Divergence& x = records[i].record.divergence.emplace(test::MakeDivergence({}, test::SevenShapes()[i]));
    std::fill(x.window_kl.begin(), x.window_kl.end(), 511 * 0.01 * static_cast<double>(i));
    std::fill(x.window_same_top.begin(), x.window_same_top.end(), 460u);
    std::fill(x.window_change.begin(), x.window_change.end(), -511 * 0.002);
    std::fill(x.window_change_squared.begin(), x.window_change_squared.end(), 511 * 0.0009);
    x.kl_median = 0.002;
    x.kl_p90 = 0.03;
    x.kl_p99 = 0.4;
    x.kl_p999 = 1.25;
    x.kl_max = 6;
  }
  return records;
}

TEST(PageDivergence, RowsDetailsFloorAndOrder) {
  const std::string page = PageOf(Diverging());
  EXPECT_TRUE(Has(page, "Sorted by perplexity delta, least first; ranked by mean KL from the baseline."));
  EXPECT_TRUE(Has(page, "| 1 | **[fp4-g32](")) << page;
  EXPECT_EQ(test::CellUnder(page, kKlTitle, "fp4-g32"), "10.00 [10.00, 10.00]");
  EXPECT_EQ(test::CellUnder(page, "Same top-1 %", "fp4-g32"), "90.02");
  EXPECT_TRUE(Has(page, "| 2 | [fp4-g64]("));
  EXPECT_TRUE(Has(page, "| 6 | [int4-g128 †]("));
  EXPECT_TRUE(Has(page, "<details><summary>Divergence in detail</summary>"));
  EXPECT_TRUE(Has(page, ".json) | 2.00 | 30.0 | 400 | 1250 | 6000 | 90.02 [90.02, 90.02] |"));
  EXPECT_TRUE(Has(page, ".json) | -0.200 | 3.000 |"));
  EXPECT_TRUE(Has(page,
                  "Noise floor of KL: 1.00e-06 nats per token, f16 by cpu/avx512 against itself by "
                  "cpu/scalar, first 1 window."));
  EXPECT_TRUE(Has(page, "- kl-512 v1, 40 windows, 511 scored per window. (SmolLM2-135M-Instruct)"));
  EXPECT_FALSE(Has(page, "below the baseline's"));
  EXPECT_TRUE(Has(SummaryText(Analyze(Diverging())), "* best; ranked by KL"));
}

// The row that is worst by KL has the least perplexity delta.
TEST(PageDivergence, RowsAreSortedAsAskedFor) {
  std::vector<StoredRecord> records = Diverging();
  for (double& x : records[6].record.perplexity->window_nll) x *= 0.5;
  const std::string last = "| 6 | [" + records[6].record.config.id;
  const auto page_by = [&](RankOrder sort) {
    PageOptions options;
    options.sort = sort;
    return RenderPage(Analyze(records), options);
  };
  const std::string by_delta = page_by(RankOrder::kPerplexity);
  EXPECT_LT(by_delta.find(last), by_delta.find("| 1 | **")) << by_delta;
  EXPECT_LT(by_delta.find("| baseline |"), by_delta.find(last));
  const std::string by_kl = page_by(RankOrder::kDivergence);
  EXPECT_TRUE(Has(by_kl, "Sorted and ranked by mean KL from the baseline, least first."));
  EXPECT_GT(by_kl.find(last), by_kl.find("| 1 | **")) << by_kl;
}

TEST(PageDivergence, BelowTheFloorIsIndistinguishable) {
  std::vector<StoredRecord> records = Diverging();
  for (double& x : records[4].record.divergence->window_kl) x = 511 * 1e-6;
  const std::string page = PageOf(records);
  EXPECT_TRUE(Has(page, "| 0.001000 [0.001000, 0.001000] indistinguishable |")) << page;
  records[0].record.noise_floor.reset();
  EXPECT_FALSE(Has(PageOf(records), "] indistinguishable |"));
  EXPECT_TRUE(Has(PageOf(records), "Noise floor of KL: not measured."));
}

TEST(PageDivergence, ARowWithoutItSaysSoAndPerplexityRanks) {
  std::vector<StoredRecord> records = Diverging();
  records[3].record.divergence.reset();
  const std::string page = PageOf(records);
  EXPECT_TRUE(Has(page, "KL is not measured on every row in the same way."));
  EXPECT_TRUE(Has(page, "| 1 | **[int4-g64 †]("));
  EXPECT_EQ(test::CellUnder(page, kKlTitle, "fp4-g128"), "not measured");
  EXPECT_EQ(test::CellUnder(page, "Same top-1 %", "fp4-g128"), "not measured");
  const auto json = SummaryJson(Analyze(records))["models"][0]["results"][0];
  EXPECT_EQ(json["ranked_by"], "perplexity_delta");
  int without = 0;
  for (const auto& row : json["rows"]) without += row["kl"].is_null() ? 1 : 0;
  EXPECT_EQ(without, 2) << "the baseline and the row";
  EXPECT_EQ(SummaryJson(Analyze(Diverging()))["models"][0]["results"][0]["ranked_by"], "kl");
}

TEST(PageDivergence, APerplexityBelowTheBaselineIsExplained) {
  std::vector<StoredRecord> records = Diverging();
  const std::vector<double> base = records[0].record.perplexity->window_nll;
  for (std::size_t i = 0; i < base.size(); ++i) records[4].record.perplexity->window_nll[i] = base[i] - 511 * 0.04;
  const std::string remark = "A perplexity below the baseline's does not mean a better model (fp4-g256): ";
  EXPECT_TRUE(Has(PageOf(records), remark));
  EXPECT_TRUE(Has(PageOf(records), "KL shows how far the predictions moved."));
  for (StoredRecord& stored : records) stored.record.divergence.reset();
  EXPECT_TRUE(Has(PageOf(records), remark));
  EXPECT_TRUE(Has(PageOf(records), "predictions moved; it is not measured here."));
}

TEST(PageDivergence, ManyRowsBelowTheBaselineAreNamedInTheNotes) {
  std::vector<StoredRecord> records = Diverging();
  const std::vector<double> base = records[0].record.perplexity->window_nll;
  for (std::size_t row = 1; row <= 4; ++row) {
    for (std::size_t i = 0; i < base.size(); ++i) records[row].record.perplexity->window_nll[i] = base[i] - 511 * 0.04;
  }
  const std::string page = PageOf(records);
  EXPECT_TRUE(Has(page, "A perplexity below the baseline's does not mean a better model (4 rows): ")) << page;
  const std::size_t notes = page.find("<details><summary>Notes on these rows</summary>");
  EXPECT_LT(notes, page.find("- Perplexity below the baseline's: fp4-g32, fp4-g64, fp4-g128, fp4-g256.")) << page;
}

TEST(Figures, KlHasFourDigitsOfItsLargestNumber) {
  EXPECT_EQ(FigureKl(MeanEstimate{0.0123412, Interval{0.0119, 0.01275}}), "12.34 [11.90, 12.75]");
  EXPECT_EQ(FigureKl(MeanEstimate{0.2834, Interval{0.28, 0.29}}), "283.4 [280.0, 290.0]");
  EXPECT_EQ(FigureKl(MeanEstimate{1.2e-12, Interval{1e-12, 2e-12}}), "1.20e-09 [1.00e-09, 2.00e-09]");
  EXPECT_EQ(FigureKl(MeanEstimate{0, Interval{0, 0}}), "0.000 [0.000, 0.000]");
  EXPECT_EQ(FigureKl(MeanEstimate{2.5, std::nullopt}), "2500 (one window: no interval)");
  EXPECT_EQ(FigureKlChange(MeanEstimate{-0.001, Interval{-0.003, 0.002}}), "-1.000 [-3.000, +2.000]");
}

}  // namespace
}  // namespace marlin
