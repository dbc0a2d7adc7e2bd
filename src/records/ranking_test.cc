#include "records/ranking.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "records/test_records.h"

namespace marlin {
namespace {

using test::Scene;
using test::Shape;
using RowNames = std::vector<std::string>;

constexpr double kNoSpread = 0;  // every window differs by the same amount

struct Row {
  std::string config;
  double bits_per_weight;
  double delta_nll;
  double kl;         // mean, nats per token
  double kl_spread;  // of the windows around it
};

std::vector<StoredRecord> RecordsOf(const std::vector<Row>& rows, std::uint64_t seed) {
  Scene scene;
  scene.seed = seed;
  Rng rng(seed);
  std::vector<StoredRecord> records = {test::Stored(test::MakeRecord(scene, test::BaselineShape()))};
  for (const Row& row : rows) {
    Record record = test::MakeRecord(scene, {row.config, "T", 32, row.bits_per_weight, row.delta_nll, kNoSpread});
    record.divergence = test::MakeDivergence(scene, {});
    for (double& sum : record.divergence->window_kl) sum = 511 * std::max(0.0, row.kl + row.kl_spread * rng.Normal());
    records.push_back(test::Stored(std::move(record)));
  }
  return records;
}

const ResultGroup& RankedGroup(const Analysis& analysis) {
  EXPECT_EQ(analysis.models.size(), 1u);
  EXPECT_EQ(analysis.models[0].groups.size(), 1u);
  return analysis.models[0].groups[0];
}

RowNames NamesOf(const ResultGroup& group) {
  RowNames names;
  for (const ResultRow& row : group.rows) names.push_back(row.record().config.id);
  return names;
}

std::vector<std::size_t> RanksOf(const ResultGroup& group) {
  std::vector<std::size_t> ranks;
  for (const ResultRow& row : group.rows) ranks.push_back(row.rank.value_or(0));
  return ranks;
}

// Rounding noise can lower a perplexity; KL tells which row is nearer to the baseline.
TEST(Ranking, KlDecidesAgainstPerplexity) {
  const auto records = RecordsOf({{"coarse", 4.1, -0.04, 0.09, 0.01}, {"fine", 4.5, -0.01, 0.03, 0.01}}, 1);
  const Analysis analysis = Analyze(records);
  const ResultGroup& group = RankedGroup(analysis);
  EXPECT_EQ(group.order, RankOrder::kDivergence);
  EXPECT_EQ(NamesOf(group), (RowNames{"f16", "fine", "coarse"}));
  EXPECT_EQ(RanksOf(group), (std::vector<std::size_t>{0, 1, 2}));
  EXPECT_EQ(group.best()->record().config.id, "fine");
}

TEST(Ranking, OneRowWithoutDivergenceRanksAllByPerplexity) {
  auto records = RecordsOf({{"coarse", 4.1, -0.04, 0.09, 0.01}, {"fine", 4.5, -0.01, 0.03, 0.01}}, 2);
  for (const bool other_version : {true, false}) {
    if (other_version) records[1].record.divergence->metric_version = 2;
    if (!other_version) records[1].record.divergence.reset();
    const Analysis analysis = Analyze(records);
    const ResultGroup& group = RankedGroup(analysis);
    EXPECT_EQ(group.order, RankOrder::kPerplexity);
    EXPECT_EQ(NamesOf(group), (RowNames{"f16", "coarse", "fine"}));
    EXPECT_EQ(group.best()->record().config.id, "coarse");
  }
}

TEST(Ranking, RowsWhoseKlIsNotToldApartShareARankAndTheSmallestIsBest) {
  const auto records = RecordsOf(
      {{"large", 4.9, 0.03, 0.0300, 0.001}, {"small", 4.1, 0.01, 0.0301, 0.012}, {"smaller", 3.9, 0.02, 0.0900, 0.001}},
      3);
  const Analysis analysis = Analyze(records);
  const ResultGroup& group = RankedGroup(analysis);
  EXPECT_EQ(RanksOf(group), (std::vector<std::size_t>{0, 1, 1, 3}));
  EXPECT_EQ(group.best()->record().config.id, "small");
  EXPECT_EQ(group.rows.back().record().config.id, "smaller");
}

TEST(Ranking, WithoutABaselineKlStillRanks) {
  auto records = RecordsOf({{"a", 4.1, 0.02, 0.02, 0.001}, {"b", 4.5, 0.01, 0.01, 0.001}}, 4);
  records.erase(records.begin());
  const Analysis analysis = Analyze(records);
  const ResultGroup& group = RankedGroup(analysis);
  EXPECT_FALSE(group.rows[0].delta.has_value());
  EXPECT_EQ(NamesOf(group), (RowNames{"b", "a"}));
  EXPECT_EQ(RanksOf(group), (std::vector<std::size_t>{1, 2}));
}

// Means, order and shared ranks worked out again from the raw windows, with a plain bootstrap of its own.
TEST(Ranking, FollowsFromTheWindows) {
  for (std::uint64_t seed = 10; seed < 16; ++seed) {
    Rng rng(seed);
    std::vector<Row> rows;
    for (int i = 0; i < 6; ++i) {
      rows.push_back({std::string(static_cast<std::size_t>(i) + 1, 'q'), 4 + rng.Uniform(), rng.Normal() * 0.02,
                      0.02 + 0.01 * rng.Uniform(), 0.01});
    }
    const auto records = RecordsOf(rows, seed);
    const Analysis analysis = Analyze(records);
    const ResultGroup& group = RankedGroup(analysis);
    std::size_t position = 0;
    for (std::size_t i = 1; i < group.rows.size(); ++i) {
      const std::vector<double>& here = group.rows[i].record().divergence->window_kl;
      const double mean = std::accumulate(here.begin(), here.end(), 0.0) / (511.0 * 40);
      EXPECT_NEAR(group.rows[i].kl->mean, mean, 1e-12);
      ++position;
      if (i == 1) {
        EXPECT_EQ(group.rows[i].rank, 1u);
        continue;
      }
      const std::vector<double>& above = group.rows[i - 1].record().divergence->window_kl;
      EXPECT_GE(mean, group.rows[i - 1].kl->mean);
      std::vector<double> difference(here.size());
      for (std::size_t w = 0; w < here.size(); ++w) difference[w] = here[w] - above[w];
      const std::vector<double> ones(difference.size(), 1.0);
      const std::vector<double> means = BootstrapMeans(difference, ones);
      const bool apart = Quantile(means, 0.025) > 0 || Quantile(means, 0.975) < 0;
      EXPECT_EQ(*group.rows[i].rank, apart ? position : *group.rows[i - 1].rank) << seed << " " << i;
    }
  }
}

// The records of this repository were made before divergence was measured; their ranks are in the README.
TEST(Ranking, CommittedRecordsKeepTheirRanks) {
  const auto loaded = LoadRecords(std::string(MARLIN_SOURCE_DIR) + "/benchmarks/earlier");
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  const Analysis analysis = Analyze(loaded->records);
  for (const ModelResults& model : analysis.models) {
    if (model.name != "SmolLM2-135M-Instruct.Q4_1") continue;
    for (const ResultGroup& group : model.groups) {
      if (group.any_kl()) continue;
      EXPECT_EQ(group.order, RankOrder::kPerplexity);
      EXPECT_EQ(NamesOf(group),
                (RowNames{"f16", "int4-g64", "fp4-g32", "int4-g128", "fp4-g64", "fp4-g128", "fp4-g256"}));
      EXPECT_EQ(RanksOf(group), (std::vector<std::size_t>{0, 1, 2, 3, 4, 4, 6}));
      EXPECT_EQ(group.best()->record().config.id, "int4-g64");
    }
  }
}

TEST(Ranking, ANewerRecordWithoutDivergenceDoesNotReplaceOneThatHasIt) {
  auto records = RecordsOf({{"a", 4.1, 0.02, 0.02, 0.001}}, 5);
  StoredRecord again = records[1];
  again.record.id = "fedcba987654";
  again.record.key = "again";
  again.record.created = "2026-01-01T00:00:00Z";
  again.file = "again.json";
  records.push_back(again);
  EXPECT_EQ(Analyze(records).superseded.size(), 1u);
  records.back().record.divergence.reset();
  EXPECT_TRUE(Analyze(records).superseded.empty());
}

}  // namespace
}  // namespace marlin
