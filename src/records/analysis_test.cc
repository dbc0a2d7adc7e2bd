#include "records/analysis.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "records/ranking.h"
#include "records/test_records.h"

namespace marlin {
namespace {

using test::Scene;
using test::Shape;

constexpr double kExactly = 0;  // spread: every window differs by the same amount

std::vector<StoredRecord> RecordsOf(const Scene& scene, const std::vector<Shape>& shapes) {
  std::vector<StoredRecord> records;
  for (const Shape& shape : shapes) records.push_back(test::Stored(test::MakeRecord(scene, shape)));
  return records;
}

std::vector<std::string> Names(const ResultGroup& group) {
  std::vector<std::string> names;
  for (const ResultRow& row : group.rows) names.push_back(row.record().config.id);
  return names;
}

std::vector<std::size_t> Ranks(const ResultGroup& group) {
  std::vector<std::size_t> ranks;
  for (const ResultRow& row : group.rows) ranks.push_back(row.rank.value_or(0));
  return ranks;
}

const ResultGroup& OnlyGroup(const Analysis& analysis) {
  EXPECT_EQ(analysis.models.size(), 1u);
  EXPECT_EQ(analysis.models[0].groups.size(), 1u);
  return analysis.models[0].groups[0];
}

TEST(Analysis, DeltaIsThePairedDifference) {
  const auto records = RecordsOf({}, {test::BaselineShape(), {"a", "T", 32, 4.5, 0.02, kExactly}});
  const Analysis analysis = Analyze(records);
  const ResultRow& row = OnlyGroup(analysis).rows[1];
  ASSERT_TRUE(row.delta.has_value());
  EXPECT_NEAR(row.delta->percent, 100 * (std::exp(0.02) - 1), 1e-9);
  EXPECT_NEAR(row.base_perplexity->perplexity * std::exp(0.02), row.perplexity->perplexity, 1e-9);
}

TEST(Analysis, RowsAreSortedAndRanked) {
  const auto records = RecordsOf({}, {{"c", "T", 32, 4.5, 0.03, kExactly},
                                      test::BaselineShape(),
                                      {"a", "T", 32, 4.5, 0.01, kExactly},
                                      {"b", "T", 32, 4.5, 0.02, kExactly}});
  const Analysis analysis = Analyze(records);
  EXPECT_EQ(Names(OnlyGroup(analysis)), (std::vector<std::string>{"f16", "a", "b", "c"}));
  EXPECT_EQ(Ranks(OnlyGroup(analysis)), (std::vector<std::size_t>{0, 1, 2, 3}));
}

// b differs from a by noise around (almost) nothing; c is clearly worse than both.
TEST(Analysis, RowsThatAreNotDistinguishedShareARankAndTheNextCountsOn) {
  const auto records = RecordsOf({}, {test::BaselineShape(),
                                      {"a", "T", 32, 4.5, 0.010, kExactly},
                                      {"bb", "T", 32, 4.5, 0.0105, 0.02},
                                      {"c", "T", 32, 4.5, 0.05, kExactly}});
  const Analysis analysis = Analyze(records);
  std::vector<std::size_t> ranks = Ranks(OnlyGroup(analysis));
  EXPECT_EQ(ranks, (std::vector<std::size_t>{0, 1, 1, 3}));
}

TEST(Analysis, BestIsTheSmallestOfThoseNotDistinguished) {
  const auto records = RecordsOf({}, {test::BaselineShape(),
                                      {"large", "T", 32, 4.9, 0.010, kExactly},
                                      {"small", "T", 32, 4.1, 0.0105, 0.02},
                                      {"smaller-but-worse", "T", 32, 3.9, 0.05, kExactly}});
  const Analysis analysis = Analyze(records);
  ASSERT_NE(OnlyGroup(analysis).best(), nullptr);
  EXPECT_EQ(OnlyGroup(analysis).best()->record().config.id, "small");
}

TEST(Analysis, BestOfEqualSizesIsTheFastestUnlessTimedDifferently) {
  auto records = RecordsOf({}, {test::BaselineShape(),
                                {"slow", "T", 32, 4.5, 0.010, kExactly, 100},
                                {"fast-one", "T", 32, 4.5, 0.0100001, kExactly, 200}});
  // The very same windows: nothing distinguishes the two.
  records[2].record.perplexity->window_nll = records[1].record.perplexity->window_nll;
  EXPECT_EQ(OnlyGroup(Analyze(records)).best()->record().config.id, "fast-one");
  auto two_runs = records;  // "slow" is first by name and stays
  two_runs[1].record.config.display_name = "a";
  EXPECT_EQ(OnlyGroup(Analyze(two_runs)).best()->record().config.id, "fast-one") << "timed interleaved";
  two_runs[2].record.throughput->run = "another";
  EXPECT_EQ(OnlyGroup(Analyze(two_runs)).best()->record().config.id, "slow");
  records[2].record.machine.cpu = "another machine";
  records[2].record.machine.threads = 64;
  // Not comparable, so speed does not decide; the first by name stays.
  EXPECT_EQ(OnlyGroup(Analyze(records)).best()->record().config.id, "fast-one");
  std::swap(records[1].record.config.display_name, records[2].record.config.display_name);
  EXPECT_EQ(OnlyGroup(Analyze(records)).best()->record().config.id, "slow");
}

TEST(Analysis, BestNeedsQuantizedTensorsThreeTimesSmaller) {
  const auto records = RecordsOf(
      {}, {test::BaselineShape(), {"int8", "T", 128, 8.125, 0.001, kExactly}, {"b", "T", 32, 4.5, 0.02, kExactly}});
  const Analysis analysis = Analyze(records);
  const ResultGroup& group = OnlyGroup(analysis);
  EXPECT_EQ(group.rows[1].record().config.id, "int8");
  EXPECT_EQ(group.rows[1].rank, 1u);
  EXPECT_EQ(group.best()->record().config.id, "b");
  const auto only = RecordsOf({}, {test::BaselineShape(), {"int8", "T", 128, 8.125, 0.001, kExactly}});
  const Analysis without = Analyze(only);
  EXPECT_EQ(OnlyGroup(without).best(), nullptr);
}

TEST(Analysis, AMissingMeasurementNeverWins) {
  auto records = test::SevenRecords();
  records[3].record.perplexity.reset();
  const Analysis analysis = Analyze(records);
  ASSERT_EQ(analysis.models[0].groups.size(), 2u);
  const ResultGroup& unmeasured = analysis.models[0].groups[1];
  EXPECT_EQ(unmeasured.perplexity(), nullptr);
  EXPECT_FALSE(unmeasured.rows[0].rank.has_value());
  EXPECT_FALSE(unmeasured.rows[0].delta.has_value());
  EXPECT_EQ(unmeasured.best(), nullptr);
}

TEST(Analysis, WithoutABaselineThereIsNoDeltaButAReason) {
  auto records = test::SevenRecords();
  records.erase(records.begin());
  const Analysis analysis = Analyze(records);
  for (const ResultRow& row : OnlyGroup(analysis).rows) {
    EXPECT_FALSE(row.delta.has_value());
    EXPECT_FALSE(row.rank.has_value());
    EXPECT_EQ(row.why_no_delta, "no baseline of this model was measured");
    EXPECT_TRUE(row.perplexity.has_value());
  }
}

TEST(Analysis, OtherWindowsThanTheBaselineCannotBePaired) {
  Scene few;
  few.windows = 20;
  auto records = test::SevenRecords();
  records.push_back(test::Stored(test::MakeRecord(few, test::SevenShapes()[1])));
  const Analysis analysis = Analyze(records);
  ASSERT_EQ(analysis.models[0].groups.size(), 2u);
  const ResultRow& row = analysis.models[0].groups[1].rows[0];
  EXPECT_FALSE(row.delta.has_value());
  EXPECT_EQ(row.why_no_delta, "the baseline has 40 windows, not 20");
  EXPECT_TRUE(row.few());
}

TEST(Analysis, DifferentProtocolsTextsAndTokenizersAreKeptApart) {
  using Change = void (*)(record::Perplexity&);
  for (const Change change : std::initializer_list<Change>{
           [](record::Perplexity& x) { x.protocol = "ppl-2048"; }, [](record::Perplexity& x) { x.metric_version = 2; },
           [](record::Perplexity& x) { x.text.sha256 = "other"; }, [](record::Perplexity& x) { x.ctx = 1024; },
           [](record::Perplexity& x) { x.tokenizer_sha256 = "other"; },
           [](record::Perplexity& x) { x.bos = "prepended"; }}) {
    auto records = test::SevenRecords();
    change(*records[2].record.perplexity);
    const Analysis analysis = Analyze(records);
    ASSERT_EQ(analysis.models[0].groups.size(), 2u);
    for (const ResultGroup& group : analysis.models[0].groups) {
      if (group.rows.size() == 1) {
        EXPECT_FALSE(group.rows[0].delta.has_value());
        EXPECT_NE(group.rows[0].why_no_delta, "");
      }
    }
  }
}

TEST(Analysis, ANewerRecordReplacesAnOlderOneOnlyIfNothingIsLost) {
  auto records = test::SevenRecords();
  StoredRecord again = records[1];
  again.record.id = "fedcba987654";
  again.record.key = "another build";
  again.record.created = "2026-01-01T00:00:00Z";
  again.file = "again.json";
  records.push_back(again);
  Analysis analysis = Analyze(records);
  EXPECT_EQ(analysis.shown.size(), 7u);
  ASSERT_EQ(analysis.superseded.size(), 1u);
  EXPECT_EQ(analysis.superseded[0], &records[1]);

  records.back().record.throughput.reset();
  analysis = Analyze(records);
  EXPECT_EQ(analysis.shown.size(), 8u);
  EXPECT_TRUE(analysis.superseded.empty());
}

TEST(Analysis, TwoFilesOfOneNameAreTwoModels) {
  auto records = test::SevenRecords();
  for (StoredRecord stored : test::SevenRecords()) {
    stored.record.model.sha256 = Sha256Hex("other weights");
    stored.record.id = Sha256Hex("other" + stored.record.id);
    records.push_back(stored);
  }
  const Analysis analysis = Analyze(records);
  ASSERT_EQ(analysis.models.size(), 2u);
  EXPECT_NE(analysis.models[0].name, analysis.models[1].name);
}

TEST(Analysis, TheOrderOfTheRecordsMakesNoDifference) {
  auto records = test::SevenRecords();
  const auto ids = [](const Analysis& analysis) {
    std::vector<std::string> list;
    for (const StoredRecord* stored : analysis.shown) list.push_back(stored->record.id);
    return list;
  };
  const std::vector<std::string> expected = ids(Analyze(records));
  std::reverse(records.begin(), records.end());
  EXPECT_EQ(ids(Analyze(records)), expected);
  std::rotate(records.begin(), records.begin() + 3, records.end());
  EXPECT_EQ(ids(Analyze(records)), expected);
}

TEST(Derive, SizesFollowFromBytes) {
  record::Size size;
  size.fp16_bytes = 1000;
  size.model_bytes = 400;
  size.quantized_parameters = 400;
  size.quantized_tensor_bytes = 200;
  EXPECT_DOUBLE_EQ(Compression(size), 2.5);
  EXPECT_DOUBLE_EQ(*QuantizedCompression(size), 4);
  EXPECT_DOUBLE_EQ(*BitsPerWeight(size), 4);
  size.quantized_parameters = 0;
  EXPECT_FALSE(QuantizedCompression(size).has_value());
}

TEST(Derive, SpeedsFollowFromTimes) {
  Record record = test::MakeRecord({}, test::BaselineShape());
  record.throughput->protocol.iterations = 3;
  record.throughput->prefill->samples_ns = {1e9, 1e9, 1e9};
  record.throughput->decode->samples_ns = {1e7, 1e7, 1e7};
  EXPECT_DOUBLE_EQ(PrefillSpeed(record)->tok_s, 512);
  EXPECT_DOUBLE_EQ(DecodeSpeed(record)->tok_s, 100);
  EXPECT_FALSE(DecodeSpeed(record)->unstable());
  record.throughput->decode->samples_ns = {1e7, 2e7, 1.5e7};
  EXPECT_TRUE(DecodeSpeed(record)->unstable());
  record.throughput.reset();
  EXPECT_FALSE(PrefillSpeed(record).has_value());
}

TEST(Derive, ARatioOfSpeedsHasTheIntervalOfItsSamples) {
  Record slow = test::MakeRecord({}, test::BaselineShape());
  Record fast = slow;
  std::vector<double>& base = slow.throughput->decode->samples_ns;
  for (std::size_t i = 0; i < base.size(); ++i) base[i] = i % 2 == 0 ? 9.9e6 : 10.1e6;
  fast.throughput->decode->samples_ns = base;
  for (double& x : fast.throughput->decode->samples_ns) x /= 2;
  const SpeedRatio twice = RatioOf(*DecodeSpeed(slow), *DecodeSpeed(fast));
  EXPECT_DOUBLE_EQ(twice.ratio, 2);
  EXPECT_TRUE(twice.distinguished());
  // A deviation of 1 % in a hundred samples each: 1.96 x sqrt(2) x 0.1 %.
  EXPECT_NEAR(twice.ratio_95->high, 2 * 1.0028, 2e-3);
  EXPECT_NEAR(twice.ratio_95->low, 2 / 1.0028, 2e-3);
  EXPECT_FALSE(RatioOf(*DecodeSpeed(slow), *DecodeSpeed(slow)).distinguished());
  base[0] = 1e9;
  for (std::size_t i = 1; i < 12; ++i) base[i] = 30e6;
  EXPECT_FALSE(RatioOf(*DecodeSpeed(slow), *DecodeSpeed(fast)).ratio_95.has_value()) << "unstable";
}

TEST(Derive, LayerSpeedCountsTheModelsLargestShapesOnly) {
  Record record = test::MakeRecord({}, test::SevenShapes()[3]);
  EXPECT_FALSE(LayerGflops(record).has_value());
  record.kernels = record::Kernels{{"15/100", 15, 100, 2.0}, {}};
  const auto add = [&](const char* set, std::uint64_t m, std::uint64_t flops, double ns, bool in_cache) {
    record.kernels->shapes.push_back({"k", "fp4-g128", set, m, 8, 8, {ns, ns}, flops, 1, 0, 1, 1, in_cache});
  };
  add("model", 512, 3000, 10, false);
  add("model", 512, 1000, 10, false);
  add("model", 1, 9999, 1, false);
  add("page", 512, 9999, 1, false);
  add("model", 512, 9999, 1, true);
  EXPECT_DOUBLE_EQ(*LayerGflops(record), 200);
}

TEST(Analysis, RoundedActivationsMakeAnotherRow) {
  std::vector<StoredRecord> records = test::SevenRecords();
  StoredRecord rounded = records[1];
  rounded.record.id = std::string(16, 'e');
  rounded.record.key = rounded.record.id + std::string(48, '0');
  rounded.record.created = "2030-01-01T00:00:00Z";
  rounded.record.machine.activations = "int8";
  records.push_back(rounded);
  const Analysis analysis = Analyze(records);
  EXPECT_TRUE(analysis.superseded.empty());
  std::size_t named = 0;
  for (const ResultRow& row : analysis.models.at(0).groups.at(0).rows) named += row.name.ends_with(" w4a8") ? 1 : 0;
  EXPECT_EQ(named, 1u);
}

// Quality and speed as two records, and a noise floor as a third: one row with all of them.
TEST(Analysis, RecordsOfOneRowAreJoined) {
  std::vector<StoredRecord> records;
  for (const StoredRecord& whole : test::SevenRecords()) {
    StoredRecord quality = whole;
    quality.record.throughput.reset();
    quality.record.size.peak_rss_decode_bytes.reset();
    records.push_back(quality);
    for (const std::uint64_t threads : {2u, 8u}) {
      StoredRecord speed = whole;
      speed.record.perplexity.reset();
      speed.record.machine.threads = threads;
      speed.record.id = Sha256Hex(fmt::format("speed {} {}", threads, whole.record.id));
      speed.file = fmt::format("speed-{}-{}.json", threads, whole.record.config.id);
      records.push_back(speed);
    }
  }
  StoredRecord floor = records[0];
  floor.record.perplexity.reset();
  floor.record.noise_floor = test::MakeNoiseFloor();
  floor.record.noise_floor->baseline_id = records[0].record.id;
  floor.record.id = Sha256Hex("floor");
  floor.file = "floor.json";
  records.push_back(floor);

  const Analysis analysis = Analyze(records);
  const ResultGroup& group = OnlyGroup(analysis);
  ASSERT_EQ(group.rows.size(), 7u);
  for (const ResultRow& row : group.rows) {
    EXPECT_TRUE(row.perplexity.has_value());
    ASSERT_EQ(row.timings.size(), 2u) << row.name;
    EXPECT_NE(row.timings[0].setting, row.timings[1].setting);
    EXPECT_EQ(row.timings[0].record().config.id, row.record().config.id);
    EXPECT_NE(row.memory, nullptr);
  }
  ASSERT_NE(group.noise_floor(), nullptr);
  EXPECT_EQ(group.floors[0]->file, "floor.json");
  EXPECT_EQ(analysis.shown.size(), records.size());
  EXPECT_TRUE(analysis.superseded.empty());

  // Without any quality they are rows of their own.
  std::erase_if(records, [](const StoredRecord& stored) { return stored.record.perplexity.has_value(); });
  const Analysis speeds = Analyze(records);
  EXPECT_EQ(OnlyGroup(speeds).perplexity(), nullptr);
  EXPECT_EQ(OnlyGroup(speeds).rows.size(), 7u);
}

TEST(Analysis, OfTwoArithmeticsATableHasTheOneOfMostRows) {
  std::vector<StoredRecord> records = test::SevenRecords();
  for (StoredRecord& stored : records) stored.record.perplexity->arithmetic = "cpu/avx2/fp32 v1";
  for (const std::size_t i : {0u, 3u}) {
    StoredRecord other = records[i];
    other.record.perplexity->arithmetic = "cpu/avx512/fp32 v1";
    for (double& nll : other.record.perplexity->window_nll) nll *= 1.5;
    other.record.id = Sha256Hex("other" + other.record.id);
    other.record.created = "2030-01-01T00:00:00Z";
    other.record.perplexity->baseline_id.reset();
    other.file = "other-" + other.file;
    records.push_back(other);
  }
  const Analysis both = Analyze(records);
  const ResultGroup& group = OnlyGroup(both);
  ASSERT_EQ(group.rows.size(), 7u);
  for (const ResultRow& row : group.rows) {
    EXPECT_EQ(ArithmeticOf(row.record()), "cpu/avx2/fp32 v1");
    const std::string& id = row.record().config.id;
    EXPECT_EQ(row.other_arithmetics.size(), id == "f16" || id == records[3].record.config.id ? 1u : 0u) << id;
  }
  // A row of one arithmetic alone is compared with the baseline of that arithmetic, not with the one that is shown.
  records.erase(records.begin() + 3);
  const Analysis alone = Analyze(records);
  for (const ResultRow& row : OnlyGroup(alone).rows) {
    if (ArithmeticOf(row.record()) != "cpu/avx512/fp32 v1") continue;
    EXPECT_GT(row.base_perplexity->perplexity, 50) << "exp(1.5 x 2.85)";
  }
}

}  // namespace
}  // namespace marlin
