#include "records/compare.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "records/test_compare.h"

namespace marlin {
namespace {

using test::AddNll;
using test::DivergingRecords;
using Measures = std::vector<const ComparedMeasure*>;

// Row 3 is fp4-g128.
ComparedRow Of(const Comparison& comparison, const std::string& name = "fp4-g128") {
  for (const ComparedRow& row : comparison.rows) {
    if (row.name == name) return row;
  }
  ADD_FAILURE() << name;
  return {};
}

TEST(Compare, AFolderWithItselfHasNoDifference) {
  const auto records = DivergingRecords();
  const Comparison comparison = CompareRecords(records, records, {0.0, 0.0, 5.0});
  ASSERT_EQ(comparison.rows.size(), 7u);
  EXPECT_TRUE(comparison.only_a.empty() && comparison.only_b.empty() && comparison.untested.empty());
  EXPECT_FALSE(comparison.exceeded());
  for (const ComparedRow& row : comparison.rows) {
    EXPECT_EQ(row.perplexity->change, 0);
    EXPECT_EQ(row.decode->change, 0);
    EXPECT_EQ(row.kl.has_value(), row.name != "f16 (dequantized from Q4_1)");
  }
}

TEST(Compare, PerplexityIsPairedAndItsLowEndDecides) {
  const auto a = DivergingRecords();
  auto b = DivergingRecords();
  AddNll(b[3], 0.02, 0.03);
  const ComparedRow row = Of(CompareRecords(a, b, {}));
  EXPECT_NEAR(row.perplexity->change, 100 * (row.perplexity->b / row.perplexity->a - 1), 1e-9);
  const Interval interval = *row.perplexity->change_95;
  EXPECT_LT(interval.low, row.perplexity->change);
  EXPECT_GT(interval.low, 0.1);
  EXPECT_TRUE(CompareRecords(a, b, {interval.low - 1e-6, {}, {}}).exceeded());
  const Comparison above = CompareRecords(a, b, {interval.low + 1e-6, {}, {}});
  EXPECT_FALSE(above.exceeded()) << "the change itself exceeds it, but chance could explain that";
  EXPECT_GT(row.perplexity->change, interval.low + 1e-6);
  EXPECT_FALSE(CompareRecords(b, a, {0.0, {}, {}}).exceeded()) << "better is no failure";
  EXPECT_EQ(Of(CompareRecords(a, b, {0.0, {}, {}})).exceeded, Measures{&kComparedMeasures[0]});
}

TEST(Compare, KlIsADifferenceInNats) {
  const auto a = DivergingRecords();
  auto b = DivergingRecords();
  for (double& kl : b[3].record.divergence->window_kl) kl *= 1.5;
  const ComparedRow row = Of(CompareRecords(a, b, {}));
  EXPECT_NEAR(row.kl->change, 0.01, 1e-12);
  EXPECT_TRUE(CompareRecords(a, b, {{}, 0.0099, {}}).exceeded());
  EXPECT_FALSE(CompareRecords(a, b, {{}, 0.0101, {}}).exceeded());
  b[3].record.divergence->metric_version = 2;
  EXPECT_FALSE(Of(CompareRecords(a, b, {})).kl.has_value());
}

TEST(Compare, SpeedHasTheIntervalOfItsSamples) {
  const auto a = DivergingRecords();
  auto b = DivergingRecords();
  for (double& ns : b[3].record.throughput->decode->samples_ns) ns *= 1.1;
  const ComparedRow row = Of(CompareRecords(a, b, {}));
  EXPECT_NEAR(row.decode->change, 10, 1e-9);
  // Two means of about 95 samples with a deviation of some 1.8 % each.
  const double width = row.decode->change_95->high - row.decode->change_95->low;
  EXPECT_GT(width, 0.7);
  EXPECT_LT(width, 1.5);
  EXPECT_EQ(row.prefill->change, 0);
  EXPECT_TRUE(CompareRecords(a, b, {{}, {}, 8.0}).exceeded());
  EXPECT_FALSE(CompareRecords(a, b, {{}, {}, 9.99}).exceeded());
  b[3].record.machine.cpu = "another";
  EXPECT_FALSE(Of(CompareRecords(a, b, {})).decode.has_value());
}

// Seventy normal pairs of runs of the same speed: a limit of 0 fails at most a few.
TEST(Compare, ChanceAloneSeldomFails) {
  Rng rng(9);
  int failures = 0;
  for (int trial = 0; trial < 70; ++trial) {
    auto a = DivergingRecords();
    auto b = DivergingRecords();
    a.erase(a.begin() + 4, a.end());
    b.erase(b.begin() + 4, b.end());
    for (auto* records : {&a, &b}) {
      for (double& ns : (*records)[3].record.throughput->decode->samples_ns) ns = 5e6 * (1 + 0.02 * rng.Normal());
    }
    failures += Of(CompareRecords(a, b, {{}, {}, 0.0})).exceeded.empty() ? 0 : 1;
  }
  EXPECT_LE(failures, 7) << "2.5 % are expected, and some more for the trimming";
}

TEST(Compare, WhatHasNoIntervalIsShownAndNeverFails) {
  test::Scene fewer;
  fewer.windows = 20;
  const auto a = DivergingRecords();
  auto b = DivergingRecords(fewer);
  for (double& ns : b[3].record.throughput->decode->samples_ns) ns *= 2;
  b[3].record.throughput->decode->samples_ns[0] *= 300;
  for (std::size_t i = 1; i < 12; ++i) b[3].record.throughput->decode->samples_ns[i] *= 3;
  const Comparison comparison = CompareRecords(a, b, {0.0, 0.0, {}});
  ASSERT_EQ(comparison.rows.size(), 7u);
  const ComparedRow row = Of(comparison);
  EXPECT_FALSE(row.perplexity->change_95.has_value());
  EXPECT_EQ(row.perplexity->why_no_interval, "40 and 20 windows");
  EXPECT_FALSE(row.kl->change_95.has_value());
  EXPECT_EQ(row.decode->why_no_interval, "unstable");
  EXPECT_FALSE(comparison.exceeded());
  EXPECT_EQ(comparison.untested, (Measures{&kComparedMeasures[0], &kComparedMeasures[1]}));
}

TEST(Compare, ARowThatBLacksIsNoPass) {
  const auto a = DivergingRecords();
  auto b = a;
  b.pop_back();
  EXPECT_FALSE(CompareRecords(a, b, {}).lacks_rows()) << "nothing was asked";
  const Comparison comparison = CompareRecords(a, b, {0.5, {}, {}});
  EXPECT_TRUE(comparison.lacks_rows());
  EXPECT_TRUE(comparison.untested.empty());
  EXPECT_FALSE(CompareRecords(b, a, {0.5, {}, {}}).lacks_rows()) << "more is no less";
}

// A limit that some rows are held against says which are not.
TEST(Compare, RowsWithoutAnIntervalBesideOthersAreNamed) {
  const auto a = DivergingRecords();
  auto b = DivergingRecords();
  std::vector<double>& samples = b[3].record.throughput->decode->samples_ns;
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i] = i % 2 == 0 ? 4e6 : 6e6;
  const Comparison comparison = CompareRecords(a, b, {{}, {}, 1000.0});
  EXPECT_TRUE(comparison.untested.empty());
  ASSERT_EQ(comparison.partly_tested.size(), 1u);
  EXPECT_EQ(comparison.partly_tested[0].measure, &kComparedMeasures[3]);
  EXPECT_EQ(comparison.partly_tested[0].rows, 7u);
  EXPECT_EQ(comparison.partly_tested[0].without_interval, std::vector<std::string>{"SmolLM2-135M-Instruct fp4-g128"});
  EXPECT_TRUE(CompareRecords(a, b, {}).partly_tested.empty()) << "nothing was asked";
}

TEST(Compare, RowsMatchByEverythingThatNamesThem) {
  using Edit = void (*)(Record&);
  for (const Edit edit : std::initializer_list<Edit>{
           [](Record& x) { x.model.sha256 = Sha256Hex("other"); }, [](Record& x) { x.config.id = "other"; },
           [](Record& x) { x.config.method = "gptq"; },
           [](Record& x) {
             x.config.calibration = record::Calibration{"c4", "ab", 128, 512};
           },
           [](Record& x) { x.config.quantized_head = true; }, [](Record& x) { x.perplexity->protocol = "ppl-2048"; },
           [](Record& x) { x.perplexity->text.sha256 = "other"; }}) {
    const auto a = DivergingRecords();
    auto b = DivergingRecords();
    edit(b[3].record);
    const Comparison comparison = CompareRecords(a, b, {});
    EXPECT_EQ(comparison.rows.size(), 6u);
    ASSERT_EQ(comparison.only_a.size(), 1u);
    EXPECT_EQ(comparison.only_a[0], "SmolLM2-135M-Instruct fp4-g128");
    EXPECT_EQ(comparison.only_b.size(), 1u);
  }
  EXPECT_TRUE(CompareRecords(DivergingRecords(), {}, {}).rows.empty());
  EXPECT_TRUE(CompareRecords({}, {}, {}).rows.empty());
}

TEST(Compare, TheNewestOfSeveralCounts) {
  const auto a = DivergingRecords();
  auto b = DivergingRecords();
  StoredRecord newer = b[3];
  newer.record.id = Sha256Hex("newer");
  newer.record.created = "2026-01-01T00:00:00Z";
  newer.record.throughput.reset();  // so that both are shown
  AddNll(newer, 0.05);
  b.push_back(newer);
  EXPECT_EQ(Of(CompareRecords(a, b, {})).id_b, newer.record.id);
}

TEST(Compare, OfTwoLengthsTheOneThatBothHave) {
  test::Scene more;
  more.windows = 60;
  const auto b = DivergingRecords();
  auto both = DivergingRecords();
  for (StoredRecord& longer : DivergingRecords(more)) {
    longer.record.id = Sha256Hex("longer " + longer.record.id);
    longer.record.created = "2026-01-01T00:00:00Z";
    both.push_back(longer);
  }
  for (const Comparison& comparison : {CompareRecords(both, b, {}), CompareRecords(b, both, {})}) {
    ASSERT_EQ(comparison.rows.size(), 7u);
    for (const ComparedRow& row : comparison.rows) {
      EXPECT_EQ(row.id_a, row.id_b);
      EXPECT_EQ(row.perplexity->change, 0);
    }
  }
}

TEST(Compare, WhatIsNotTestedIsCounted) {
  const auto [a, b] = test::PartlyComparable();
  const Comparison comparison = CompareRecords(a, b, {});
  EXPECT_EQ(comparison.rows.size(), 4u);
  EXPECT_EQ(comparison.without_figures, std::vector<std::string>{"SmolLM2-135M-Instruct fp4-g64"});
  EXPECT_EQ(comparison.only_a, std::vector<std::string>{"SmolLM2-135M-Instruct int4-g128"});
  EXPECT_EQ(comparison.only_b, std::vector<std::string>{"SmolLM2-135M-Instruct fp4-g32"});
  const TestedRows perplexity = CountTested(comparison, kComparedMeasures[0]);
  EXPECT_EQ(perplexity.rows, 4u);
  EXPECT_EQ(perplexity.not_measured, 1u);
  const TestedRows kl = CountTested(comparison, kComparedMeasures[1]);
  EXPECT_EQ(kl.rows, 3u);
  EXPECT_EQ(kl.not_measured, 1u) << "a baseline has none and lacks none";
  EXPECT_EQ(kl.all(), 4u);
}

}  // namespace
}  // namespace marlin
