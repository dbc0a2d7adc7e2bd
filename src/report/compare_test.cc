#include "report/compare.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "records/test_records.h"

namespace marlin {
namespace {

// The seven rows with a mean KL of 0.02 nats each.
std::vector<StoredRecord> Rows(test::Scene scene = {}) {
  std::vector<StoredRecord> records = test::SevenRecords(scene);
  for (std::size_t i = 1; i < records.size(); ++i) {
    record::Divergence& x = records[i].record.divergence.emplace(test::MakeDivergence(scene, test::SevenShapes()[i]));
    std::fill(x.window_kl.begin(), x.window_kl.end(), 511 * 0.02);
  }
  return records;
}

// Row 3 is fp4-g128.
ComparedRow Of(const Comparison& comparison, const std::string& name = "fp4-g128") {
  for (const ComparedRow& row : comparison.rows) {
    if (row.name == name) return row;
  }
  ADD_FAILURE() << name;
  return {};
}

void AddNll(StoredRecord& stored, double nats_per_token, double spread = 0) {
  Rng rng(77);
  for (double& sum : stored.record.perplexity->window_nll) sum += 511 * (nats_per_token + spread * rng.Normal());
}

TEST(Compare, AFolderWithItselfHasNoDifference) {
  const auto records = Rows();
  const Comparison comparison = CompareRecords(records, records, {0.0, 0.0, 5.0});
  ASSERT_EQ(comparison.rows.size(), 7u);
  EXPECT_TRUE(comparison.only_a.empty() && comparison.only_b.empty() && comparison.untested.empty());
  EXPECT_FALSE(comparison.exceeded());
  for (const ComparedRow& row : comparison.rows) {
    EXPECT_EQ(row.perplexity->change, 0);
    EXPECT_EQ(row.decode->change, 0);
    EXPECT_EQ(row.kl.has_value(), row.name != "f16 (dequantized from Q4_1)");
  }
  EXPECT_NE(CompareText(comparison).find("no measurable difference"), std::string::npos);
}

TEST(Compare, PerplexityIsPairedAndItsLowEndDecides) {
  const auto a = Rows();
  auto b = Rows();
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
  const auto exceeded = Of(CompareRecords(a, b, {0.0, {}, {}})).exceeded;
  ASSERT_EQ(exceeded.size(), 1u);
  EXPECT_NE(exceeded[0].find("SmolLM2-135M-Instruct fp4-g128: perplexity +"), std::string::npos) << exceeded[0];
  EXPECT_NE(exceeded[0].find("limit +0.00 (--max-ppl-delta)"), std::string::npos) << exceeded[0];
}

TEST(Compare, KlIsADifferenceInNats) {
  const auto a = Rows();
  auto b = Rows();
  for (double& kl : b[3].record.divergence->window_kl) kl *= 1.5;
  const ComparedRow row = Of(CompareRecords(a, b, {}));
  EXPECT_NEAR(row.kl->change, 0.01, 1e-12);
  EXPECT_TRUE(CompareRecords(a, b, {{}, 0.0099, {}}).exceeded());
  EXPECT_FALSE(CompareRecords(a, b, {{}, 0.0101, {}}).exceeded());
  b[3].record.divergence->metric_version = 2;
  EXPECT_FALSE(Of(CompareRecords(a, b, {})).kl.has_value());
}

TEST(Compare, SpeedHasTheIntervalOfItsSamples) {
  const auto a = Rows();
  auto b = Rows();
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
    auto a = Rows();
    auto b = Rows();
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
  const auto a = Rows();
  auto b = Rows(fewer);
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
  ASSERT_EQ(comparison.untested.size(), 2u);
  EXPECT_EQ(comparison.untested[0].find("--max-ppl-delta: "), 0u);
  EXPECT_EQ(comparison.untested[1].find("--max-kl: "), 0u);
  EXPECT_NE(CompareText(comparison).find("(no interval: 40 and 20 windows)"), std::string::npos);
}

TEST(Compare, ARowThatBLacksIsNoPass) {
  const auto a = Rows();
  auto b = a;
  b.pop_back();
  EXPECT_TRUE(CompareRecords(a, b, {}).untested.empty()) << "nothing was asked";
  const Comparison comparison = CompareRecords(a, b, {0.5, {}, {}});
  ASSERT_EQ(comparison.untested.size(), 1u);
  EXPECT_NE(comparison.untested[0].find(comparison.only_a.at(0)), std::string::npos) << comparison.untested[0];
  EXPECT_TRUE(CompareRecords(b, a, {0.5, {}, {}}).untested.empty()) << "more is no less";
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
    const auto a = Rows();
    auto b = Rows();
    edit(b[3].record);
    const Comparison comparison = CompareRecords(a, b, {});
    EXPECT_EQ(comparison.rows.size(), 6u);
    ASSERT_EQ(comparison.only_a.size(), 1u);
    EXPECT_EQ(comparison.only_a[0], "SmolLM2-135M-Instruct fp4-g128");
    EXPECT_EQ(comparison.only_b.size(), 1u);
  }
  EXPECT_TRUE(CompareRecords(Rows(), {}, {}).rows.empty());
  EXPECT_TRUE(CompareRecords({}, {}, {}).rows.empty());
}

TEST(Compare, TheNewestOfSeveralCounts) {
  const auto a = Rows();
  auto b = Rows();
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
  const auto b = Rows();
  auto both = Rows();
  for (StoredRecord& longer : Rows(more)) {
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
  auto a = Rows();
  auto b = Rows();
  a.erase(a.begin() + 1);                                // fp4-g32: only in B
  b.erase(b.begin() + 6);                                // int4-g128: only in A
  for (Record* record : {&a[1].record, &b[2].record}) {  // fp4-g64 has nothing left that both measured
    record->divergence.reset();
    record->throughput.reset();
  }
  a[1].record.perplexity.reset();
  b[2].record.perplexity.reset();
  b[3].record.throughput.reset();
  const Comparison comparison = CompareRecords(a, b, {});
  EXPECT_EQ(comparison.rows.size(), 4u);
  EXPECT_EQ(comparison.without_figures, std::vector<std::string>{"SmolLM2-135M-Instruct fp4-g64"});
  const std::string text = CompareText(comparison);
  EXPECT_NE(text.find("tested: 4 of 5 rows; not measured in the same way in both: 1\n"), std::string::npos) << text;
  EXPECT_NE(
      text.find(
          "tested: 3 of 5 rows; not measured in the same way in both: 2\nThe interval covers the noise inside one run"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("Not tested, only in A (1):\n  SmolLM2-135M-Instruct int4-g128\n"), std::string::npos) << text;
  EXPECT_NE(text.find("Not tested, only in B (1):\n  SmolLM2-135M-Instruct fp4-g32\n"), std::string::npos) << text;
  EXPECT_NE(text.find("Not tested, no figure in both (1):\n  SmolLM2-135M-Instruct fp4-g64\n"), std::string::npos)
      << text;
  const nlohmann::ordered_json json = CompareJson(comparison);
  EXPECT_EQ(json["tested"]["mean KL"]["rows"], 3);
  EXPECT_EQ(json["tested"]["mean KL"]["not_measured"], 1) << "a baseline has none and lacks none";
  EXPECT_EQ(json["tested"]["time of decode"]["rows"], 3);
  EXPECT_EQ(json["tested"]["time of decode"]["not_measured"], 2);
  EXPECT_EQ(json["without_figures"].size(), 1u);
}

TEST(Compare, JsonHoldsTheSame) {
  const auto a = Rows();
  auto b = Rows();
  AddNll(b[3], 0.02);
  b[3].record.throughput.reset();
  const nlohmann::ordered_json json = CompareJson(CompareRecords(a, b, {1.0, {}, {}}));
  EXPECT_EQ(json["exceeded"], true);
  for (const auto& row : json["rows"]) {
    if (row["name"] != "fp4-g128") continue;
    EXPECT_NEAR(row["perplexity_percent"]["change"].get<double>(), 100 * std::expm1(0.02), 1e-9);
    EXPECT_TRUE(row["decode_time_percent"].is_null());
    EXPECT_EQ(row["exceeded"].size(), 1u);
  }
}

}  // namespace
}  // namespace marlin
