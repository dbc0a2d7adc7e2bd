#include "report/compare_text.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/test_text.h"
#include "records/test_compare.h"

namespace marlin {
namespace {

using test::AddNll;
using test::DivergingRecords;

TEST(CompareText, AFolderWithItselfHasNoDifference) {
  const auto records = DivergingRecords();
  EXPECT_TRUE(Has(CompareText(CompareRecords(records, records, {})), "no measurable difference"));
}

TEST(CompareText, WhatIsNotTestedIsCounted) {
  const auto [a, b] = test::PartlyComparable();
  const Comparison comparison = CompareRecords(a, b, {});
  const std::string text = CompareText(comparison);
  for (const char* piece :
       {"tested: 4 of 5 rows; not measured in the same way in both: 1\n",
        "tested: 3 of 5 rows; not measured in the same way in both: 2\nThe interval covers the noise inside one run",
        "Not tested, only in A (1):\n  SmolLM2-135M-Instruct int4-g128\n",
        "Not tested, only in B (1):\n  SmolLM2-135M-Instruct fp4-g32\n",
        "Not tested, no figure in both (1):\n  SmolLM2-135M-Instruct fp4-g64\n"}) {
    EXPECT_TRUE(Has(text, piece)) << piece << text;
  }
  const nlohmann::ordered_json json = CompareJson(comparison);
  EXPECT_EQ(json["tested"]["mean KL"]["rows"], 3);
  EXPECT_EQ(json["tested"]["mean KL"]["not_measured"], 1) << "a baseline has none and lacks none";
  EXPECT_EQ(json["tested"]["time of decode"]["rows"], 3);
  EXPECT_EQ(json["tested"]["time of decode"]["not_measured"], 2);
  EXPECT_EQ(json["without_figures"].size(), 1u);
}

TEST(CompareText, AnExceededLimitIsASentence) {
  const auto a = DivergingRecords();
  auto b = DivergingRecords();
  AddNll(b[3], 0.02);
  for (double& kl : b[3].record.divergence->window_kl) kl *= 1.5;
  const Comparison comparison = CompareRecords(a, b, {1.0, 0.001, {}});
  const std::vector<std::string> sentences = {
      "SmolLM2-135M-Instruct fp4-g128: perplexity +2.02 [+2.02, +2.02] %, limit +1.00 (--max-ppl-delta)",
      "SmolLM2-135M-Instruct fp4-g128: mean KL +10.000 [+10.000, +10.000] 1e-3 nats, limit +1.000 (--max-kl)"};
  EXPECT_EQ(ExceededLimits(comparison), sentences);
  EXPECT_TRUE(UntestedLimits(comparison).empty());
  EXPECT_TRUE(PartlyTestedLimits(comparison).empty());
}

TEST(CompareText, AnUntestedLimitIsASentence) {
  test::Scene fewer;
  fewer.windows = 20;
  auto b = DivergingRecords(fewer);
  b.pop_back();
  const Comparison comparison = CompareRecords(DivergingRecords(), b, {0.0, 0.0, {}});
  const std::vector<std::string> sentences = {
      "--max-ppl-delta: no row has a perplexity with an interval in both folders",
      "--max-kl: no row has a mean KL with an interval in both folders",
      "B lacks rows of A: SmolLM2-135M-Instruct int4-g128"};
  EXPECT_EQ(UntestedLimits(comparison), sentences);
  EXPECT_TRUE(Has(CompareText(comparison), "(no interval: 40 and 20 windows)"));
}

TEST(CompareText, ALimitThatSomeRowsWereNotHeldAgainstIsASentence) {
  const auto a = DivergingRecords();
  auto b = DivergingRecords();
  std::vector<double>& samples = b[3].record.throughput->decode->samples_ns;
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i] = i % 2 == 0 ? 4e6 : 6e6;
  const std::vector<std::string> sentences = {
      "--max-slowdown: 1 of 7 rows have no interval of their time of decode and were not tested against it: "
      "SmolLM2-135M-Instruct fp4-g128"};
  EXPECT_EQ(PartlyTestedLimits(CompareRecords(a, b, {{}, {}, 1000.0})), sentences);
}

TEST(CompareText, JsonHoldsTheSame) {
  const auto a = DivergingRecords();
  auto b = DivergingRecords();
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
