#include "records/recommend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "records/ranking.h"
#include "records/test_records.h"

namespace marlin {
namespace {

using test::Scene;

struct MadeRow {
  std::string config;
  double bits_per_weight = 4.25;
  double kl = 0.1;          // mean, nats per token
  double kl_spread = 0;     // of the windows around it
  double decode_tok_s = 0;  // 0 = not timed
  double delta_nll = 0.03;
};

// A baseline that decodes 100 tok/s, and rows.
std::vector<StoredRecord> RecordsWith(const std::vector<MadeRow>& rows, double baseline_tok_s = 100) {
  const Scene scene;
  Rng rng(1);
  std::vector<StoredRecord> records = {test::Stored(test::MakeRecord(scene, test::BaselineShape(baseline_tok_s)))};
  for (const MadeRow& row : rows) {
    Record record = test::MakeRecord(
        scene, {row.config, "T", 32, row.bits_per_weight, row.delta_nll, 0, std::max(row.decode_tok_s, 1.0), 800});
    record.divergence = test::MakeDivergence(scene, {});
    for (double& sum : record.divergence->window_kl) sum = 511 * std::max(0.0, row.kl + row.kl_spread * rng.Normal());
    if (row.decode_tok_s == 0) record.throughput.reset();
    records.push_back(test::Stored(std::move(record)));
  }
  return records;
}

// Peaks: baseline 300.0 MB, fp4-g32 147.4, int4-g64 144.9, fp4-g128 142.6 (tensors 31 MB less).
std::vector<StoredRecord> ThreeRows() {
  return RecordsWith(
      {{"fp4-g32", 4.5, 0.02, 0, 150}, {"int4-g64", 4.3125, 0.05, 0, 200}, {"fp4-g128", 4.139, 0.09, 0, 220}});
}

// The answer and what it points into.
struct Answered {
  Answered(std::vector<StoredRecord> given, const RecommendLimits& limits,
           const std::optional<record::Session>& session = {})
      : records(std::move(given)), analysis(Analyze(records)) {
    auto result = Recommend(analysis.models.front(), limits, session);
    EXPECT_TRUE(result.ok()) << result.error().message;
    if (result) answer = std::move(*result);
  }

  std::string recommended() const { return answer.recommended ? answer.rows[*answer.recommended].config : "none"; }
  std::string runner_up() const { return answer.runner_up ? answer.rows[*answer.runner_up].config : "none"; }
  const JudgedRow& row(const std::string& config) const {
    return *std::ranges::find(answer.rows, config, &JudgedRow::config);
  }
  std::string ConfigAt(std::optional<std::size_t> place) const { return place ? answer.rows[*place].config : "none"; }

  std::vector<StoredRecord> records;
  Analysis analysis;
  Recommendation answer;
};

using Obstacles = std::vector<Obstacle>;
using Doubts = std::vector<Doubt>;

RecommendLimits Limited(const std::function<void(RecommendLimits&)>& set) {
  RecommendLimits limits;
  set(limits);
  return limits;
}

TEST(Recommend, WithoutLimitsItIsTheBestOfThePage) {
  const Answered answered(ThreeRows(), {});
  EXPECT_EQ(answered.recommended(), "fp4-g32");
  EXPECT_EQ(answered.analysis.models[0].groups[0].best()->record().config.id, "fp4-g32");
  EXPECT_EQ(answered.runner_up(), "int4-g64");
  EXPECT_EQ(answered.row("f16").obstacles, Obstacles{Obstacle::kNotSmall});
  EXPECT_EQ(answered.row("int4-g64").obstacles, Obstacles{Obstacle::kLosesMore});
  EXPECT_TRUE(answered.row("fp4-g32").obstacles.empty());
  EXPECT_FALSE(answered.answer.undecided());
}

// 4.5 and 4.3125 bits are not told apart here: the smaller one is the best of the page, and is recommended.
TEST(Recommend, OfTiedRowsTheSmallest) {
  const Answered answered(RecordsWith({{"fp4-g32", 4.5, 0.050, 0.02}, {"int4-g64", 4.3125, 0.051, 0.02}}), {});
  EXPECT_EQ(answered.recommended(), "int4-g64");
  EXPECT_EQ(answered.row("fp4-g32").obstacles, Obstacles{Obstacle::kTied});
  EXPECT_EQ(answered.runner_up(), "fp4-g32");
}

TEST(Recommend, OfTiedRowsOfOneSizeTheFastest) {
  const Answered answered(RecordsWith({{"fp4-g32", 4.5, 0.050, 0.02, 100}, {"int4-g32", 4.5, 0.051, 0.02, 150}}), {});
  EXPECT_EQ(answered.recommended(), "int4-g32");
  EXPECT_EQ(answered.row("fp4-g32").obstacles, Obstacles{Obstacle::kTied});
}

TEST(Recommend, AMemoryThatEverythingFitsNeedsNoQuantization) {
  const Answered answered(ThreeRows(), Limited([](auto& x) { x.memory_bytes = 12'000'000'000; }));
  EXPECT_EQ(answered.recommended(), "f16") << "the least loss that fits is none";
  EXPECT_EQ(answered.runner_up(), "fp4-g32");
}

TEST(Recommend, MemoryIsThePeakAtTheMeasuredContext) {
  auto records = ThreeRows();
  const std::uint64_t least = *records[2].record.size.peak_rss_decode_bytes;  // int4-g64
  const Answered fits(records, Limited([&](auto& x) { x.memory_bytes = least; }));
  EXPECT_EQ(fits.answer.context, record::kPeakPositions) << "nothing else is known";
  EXPECT_EQ(fits.recommended(), "int4-g64");
  EXPECT_EQ(fits.row("int4-g64").memory.basis, MemoryBasis::kMeasured);
  EXPECT_EQ(fits.row("fp4-g32").obstacles, Obstacles{Obstacle::kMemory});
  EXPECT_EQ(fits.row("f16").obstacles, Obstacles{Obstacle::kMemory});
  const Answered below(records, Limited([&](auto& x) { x.memory_bytes = least - 1; }));
  EXPECT_EQ(below.recommended(), "fp4-g128");
}

TEST(Recommend, AContextBeyondTheMeasuredOneIsNotGuessed) {
  const Answered answered(ThreeRows(), Limited([](auto& x) {
                            x.memory_bytes = 1'000'000'000;
                            x.context = record::kPeakPositions + 1;
                          }));
  EXPECT_EQ(answered.recommended(), "none");
  EXPECT_TRUE(answered.answer.undecided());
  for (const JudgedRow& row : answered.answer.rows) {
    EXPECT_EQ(row.obstacles, Obstacles{Obstacle::kMemoryUnknown}) << row.config;
    EXPECT_FALSE(row.memory.bytes.has_value());
  }
  const Answered without(ThreeRows(), Limited([](auto& x) { x.context = 8192; }));
  EXPECT_EQ(without.recommended(), "fp4-g32") << "memory was not asked for";
}

TEST(Recommend, ASessionMakesEveryContextKnown) {
  const record::Session session{4096, 1000, 500};
  for (const bool in_record : {false, true}) {
    auto records = ThreeRows();
    if (in_record) records[3].record.session = session;
    const std::optional<record::Session> given = in_record ? std::nullopt : std::optional(session);
    const Answered usual(records, {}, given);
    EXPECT_EQ(usual.answer.context, kUsualContext);
    const Answered answered(records, Limited([](auto& x) { x.context = 4096; }), given);
    const RowMemory& memory = answered.row("fp4-g32").memory;
    EXPECT_EQ(memory.basis, MemoryBasis::kExtended);
    EXPECT_EQ(memory.bytes, *records[1].record.size.peak_rss_decode_bytes + (4096 - record::kPeakPositions) * 1500);
    EXPECT_EQ(memory.cache_bytes, 4096u * 1000);
    EXPECT_EQ(memory.work_bytes, 4096u * 500);
    records[1].record.size.peak_rss_decode_bytes.reset();
    const Answered computed(records, Limited([](auto& x) { x.context = 4096; }), given);
    EXPECT_EQ(computed.row("fp4-g32").memory.basis, MemoryBasis::kComputed);
    EXPECT_EQ(computed.row("fp4-g32").memory.bytes, records[1].record.size.model_bytes + 4096 * 1500);
    const auto beyond = Recommend(Analyze(records).models[0], Limited([](auto& x) { x.context = 4097; }), given);
    ASSERT_FALSE(beyond.ok());
    EXPECT_EQ(beyond.error().code, ErrorCode::kUsage);
    EXPECT_NE(beyond.error().message.find("4097"), std::string::npos);
  }
}

TEST(Recommend, AShortModelHasAShortUsualContext) {
  const Answered answered(ThreeRows(), {}, record::Session{128, 1000, 500});
  EXPECT_EQ(answered.answer.context, 128u);
}

TEST(Recommend, AComputedMemoryWithASmallMarginIsDoubted) {
  auto records = ThreeRows();
  for (StoredRecord& stored : records) stored.record.size.peak_rss_decode_bytes.reset();
  const record::Session session{4096, 1000, 500};
  const std::uint64_t needs = records[1].record.size.model_bytes + 512 * 1500;
  const auto doubts = [&](std::uint64_t limit) {
    const Answered answered(records, Limited([&](auto& x) { x.memory_bytes = limit; }), session);
    EXPECT_EQ(answered.recommended(), "fp4-g32");
    return answered.row("fp4-g32").doubts;
  };
  EXPECT_EQ(doubts(needs + 49'000'000), Doubts{Doubt::kComputed});
  EXPECT_EQ(doubts(needs + 51'000'000), Doubts{});
}

TEST(Recommend, AMeanAtTheLimitSatisfiesIt) {
  auto records = ThreeRows();
  const double kl = Analyze(records).models[0].groups[0].rows[1].kl->mean;
  EXPECT_EQ(Answered(records, Limited([&](auto& x) { x.max_kl = kl; })).recommended(), "fp4-g32");
  const Answered below(records, Limited([&](auto& x) { x.max_kl = kl * 0.999; }));
  EXPECT_EQ(below.recommended(), "f16") << "no quantized row satisfies it, and the baseline loses nothing";
  EXPECT_EQ(below.row("fp4-g32").obstacles, Obstacles{Obstacle::kKl});
}

TEST(Recommend, AnIntervalBeyondTheLimitIsNotCertain) {
  const auto records = RecordsWith({{"fp4-g32", 4.5, 0.05, 0.01}});
  const double mean = Analyze(records).models[0].groups[0].rows[1].kl->mean;
  const Answered tight(records, Limited([&](auto& x) { x.max_kl = mean + 1e-6; }));
  ASSERT_EQ(tight.recommended(), "fp4-g32") << mean;
  EXPECT_EQ(tight.row("fp4-g32").doubts, Doubts{Doubt::kKlInterval});
  const Answered loose(records, Limited([](auto& x) { x.max_kl = 0.08; }));
  EXPECT_EQ(loose.row("fp4-g32").doubts, Doubts{});
}

TEST(Recommend, ADeltaIsALimitToo) {
  const auto records = RecordsWith({{"fp4-g32", 4.5, 0.02, 0, 0, 0.03}, {"int4-g64", 4.3, 0.05, 0, 0, 0.005}});
  const Answered answered(records, Limited([](auto& x) { x.max_delta_percent = 1; }));
  EXPECT_EQ(answered.recommended(), "int4-g64") << "the lesser KL has a perplexity 3 % higher";
  EXPECT_EQ(answered.row("fp4-g32").obstacles, Obstacles{Obstacle::kDelta});
}

TEST(Recommend, ALossLimitPrefersRowsThreeTimesSmallerThenOtherQuantizedOnes) {
  const auto records = RecordsWith({{"int8-g128", 8.125, 0.001}, {"fp4-g128", 4.139, 0.09}});
  EXPECT_EQ(Answered(records, Limited([](auto& x) { x.max_kl = 0.1; })).recommended(), "fp4-g128");
  const Answered strict(records, Limited([](auto& x) { x.max_kl = 0.01; }));
  EXPECT_EQ(strict.recommended(), "int8-g128");
  EXPECT_EQ(strict.runner_up(), "f16");
  EXPECT_EQ(strict.row("f16").obstacles, Obstacles{Obstacle::kNotSmall});
  EXPECT_EQ(Answered(records, Limited([](auto& x) { x.max_kl = 0; })).recommended(), "f16");
  const Answered fits(records, Limited([](auto& x) {
                        x.max_kl = 0.1;
                        x.memory_bytes = 200'000'000;
                      }));
  EXPECT_EQ(fits.recommended(), "int8-g128") << "a limit of memory says what the machine bears";
}

TEST(Recommend, ASpeedIsThatOfDecoding) {
  const Answered answered(ThreeRows(), Limited([](auto& x) { x.min_decode_tok_s = 180; }));
  EXPECT_EQ(answered.recommended(), "int4-g64");
  EXPECT_EQ(answered.runner_up(), "fp4-g128");
  EXPECT_EQ(answered.row("fp4-g32").obstacles, Obstacles{Obstacle::kSpeed});
  EXPECT_EQ(answered.row("f16").obstacles, Obstacles{Obstacle::kSpeed});
  const Answered slow(ThreeRows(), Limited([](auto& x) { x.min_decode_tok_s = 50; }));
  EXPECT_EQ(slow.recommended(), "f16");
  const Answered none(ThreeRows(), Limited([](auto& x) { x.min_decode_tok_s = 500; }));
  EXPECT_EQ(none.recommended(), "none");
  EXPECT_FALSE(none.answer.undecided());
  EXPECT_EQ(none.ConfigAt(none.answer.fastest), "fp4-g128");
}

TEST(Recommend, ASpeedAfterAShorterContextIsDoubted) {
  const Answered answered(ThreeRows(), Limited([](auto& x) {
                            x.min_decode_tok_s = 180;
                            x.context = 2048;
                          }),
                          record::Session{4096, 1000, 500});
  EXPECT_EQ(answered.recommended(), "int4-g64");
  EXPECT_EQ(answered.row("int4-g64").doubts, Doubts{Doubt::kShortPrompt});
}

TEST(Recommend, ARowThatWasNotTimedMakesASpeedUndecided) {
  const auto records = RecordsWith({{"fp4-g32", 4.5, 0.02}, {"fp4-g128", 4.139, 0.09, 0, 150}});
  const Answered fast(records, Limited([](auto& x) { x.min_decode_tok_s = 200; }));
  EXPECT_EQ(fast.row("fp4-g32").obstacles, Obstacles{Obstacle::kSpeedUnknown});
  EXPECT_EQ(fast.row("fp4-g128").obstacles, Obstacles{Obstacle::kSpeed});
  EXPECT_TRUE(fast.answer.undecided());
  const Answered enough(records, Limited([](auto& x) { x.min_decode_tok_s = 120; }));
  EXPECT_EQ(enough.recommended(), "fp4-g128");
  EXPECT_FALSE(enough.answer.undecided());
}

TEST(Recommend, WhatCannotBeSaysTheLeastThatIsPossible) {
  const Answered answered(ThreeRows(), Limited([](auto& x) {
                            x.memory_bytes = 146'000'000;
                            x.max_kl = 0.01;
                          }));
  EXPECT_EQ(answered.recommended(), "none");
  EXPECT_FALSE(answered.answer.undecided());
  EXPECT_EQ(answered.ConfigAt(answered.answer.least_memory), "fp4-g128");
  EXPECT_EQ(answered.ConfigAt(answered.answer.least_loss), "fp4-g32");
  EXPECT_EQ(answered.ConfigAt(answered.answer.least_loss_in_memory), "int4-g64");
  EXPECT_EQ(answered.row("fp4-g32").obstacles, (Obstacles{Obstacle::kMemory, Obstacle::kKl}));
}

TEST(Recommend, AnotherProgramsFileIsACandidateOnlyWhereNoMachineIsAskedFor) {
  auto records = RecordsWith({{"llama.cpp Q4_K_M", 4.8, 0.01}, {"fp4-g32", 4.5, 0.02}});
  records[1].record.config.kind = record::Kind::kImported;
  EXPECT_EQ(Answered(records, {}).recommended(), "llama.cpp Q4_K_M") << "the best of the page";
  const Answered limited(records, Limited([](auto& x) { x.memory_bytes = 200'000'000; }));
  EXPECT_EQ(limited.recommended(), "fp4-g32");
  EXPECT_EQ(limited.row("llama.cpp Q4_K_M").obstacles, Obstacles{Obstacle::kForeign});
  const Answered none(records, Limited([](auto& x) { x.memory_bytes = 1000; }));
  EXPECT_FALSE(none.answer.undecided()) << "no measurement would change that";
}

TEST(Recommend, RowsWithoutQualityOrOnOtherTextsAreNamed) {
  auto records = ThreeRows();
  records[3].record.perplexity.reset();
  records[3].record.divergence.reset();
  records[2].record.perplexity->text = {"other.txt", "abc", false};
  const Answered answered(records, {});
  EXPECT_EQ(answered.recommended(), "fp4-g32");
  EXPECT_EQ(answered.row("fp4-g128").obstacles, Obstacles{Obstacle::kQualityUnknown});
  EXPECT_EQ(answered.row("int4-g64").obstacles, Obstacles{Obstacle::kOtherText});
  EXPECT_EQ(answered.answer.rows.size(), 4u);
}

TEST(Recommend, WithoutKlItFollowsThePerplexity) {
  auto records = RecordsWith({{"fp4-g32", 4.5, 0.02, 0, 0, 0.01}, {"fp4-g128", 4.139, 0.09, 0, 0, 0.04}});
  for (StoredRecord& stored : records) stored.record.divergence.reset();
  const Answered answered(records, {});
  EXPECT_EQ(answered.answer.order, RankOrder::kPerplexity);
  EXPECT_EQ(answered.recommended(), "fp4-g32");
  const Answered by_kl(records, Limited([](auto& x) { x.max_kl = 0.5; }));
  EXPECT_EQ(by_kl.row("fp4-g32").obstacles, Obstacles{Obstacle::kKlUnknown});
  EXPECT_EQ(by_kl.recommended(), "f16") << "a baseline's KL is 0 without a measurement";
}

TEST(Recommend, OneWindowGivesNoInterval) {
  Scene scene;
  scene.windows = 1;
  std::vector<StoredRecord> records = {test::Stored(test::MakeRecord(scene, test::BaselineShape()))};
  Record record = test::MakeRecord(scene, test::SevenShapes()[1]);
  record.divergence = test::MakeDivergence(scene, {});
  records.push_back(test::Stored(std::move(record)));
  const Answered answered(records, Limited([](auto& x) { x.max_kl = 1; }));
  EXPECT_EQ(answered.row("fp4-g32").doubts, (Doubts{Doubt::kNoInterval, Doubt::kFew}));
}

TEST(Recommend, OnlyABaselineIsStillAnAnswer) {
  const Answered answered(RecordsWith({}), {});
  EXPECT_EQ(answered.recommended(), "f16");
  EXPECT_EQ(answered.runner_up(), "none");
}

const std::vector<EstimatedRow> kEstimated = {{"f16", 1000, std::nullopt, 0},
                                              {"int8-g128", 600, 1.97, 0.001},
                                              {"fp4-g32", 400, 3.56, 0.02},
                                              {"fp4-g128", 380, 3.88, 0.03}};

std::string EstimatedBest(const RecommendLimits& limits) {
  const auto answer = RecommendEstimated("m", kEstimated, limits, {4096, 1, 1});
  if (!answer) return "error";
  return answer->recommended ? answer->rows[*answer->recommended].config : "none";
}

TEST(Recommend, EstimatesAreJudgedInTheSameWay) {
  EXPECT_EQ(EstimatedBest({}), "fp4-g32");
  EXPECT_EQ(EstimatedBest(Limited([](auto& x) { x.memory_bytes = 1'000'000; })), "f16");
  EXPECT_EQ(EstimatedBest(Limited([](auto& x) { x.memory_bytes = 600 + 1024; })), "int8-g128");
  EXPECT_EQ(EstimatedBest(Limited([](auto& x) { x.memory_bytes = 380 + 1024; })), "fp4-g128");
  EXPECT_EQ(EstimatedBest(Limited([](auto& x) { x.memory_bytes = 379 + 1024; })), "none");
  EXPECT_EQ(EstimatedBest(Limited([](auto& x) { x.max_kl = 0.005; })), "int8-g128");
  EXPECT_EQ(EstimatedBest(Limited([](auto& x) { x.context = 5000; })), "error");
  const auto answer = RecommendEstimated("m", kEstimated, {}, {4096, 1, 1});
  EXPECT_TRUE(answer->estimate);
  EXPECT_EQ(answer->rows[2].doubts, Doubts{Doubt::kEstimate});
  const auto timed =
      RecommendEstimated("m", kEstimated, Limited([](auto& x) { x.min_decode_tok_s = 1; }), {4096, 1, 1});
  EXPECT_TRUE(timed->undecided()) << "no speed is known";
}

TEST(Ranking, ARowBelowTheNoiseFloorIsTiedWithItsBaseline) {
  auto records = RecordsWith({{"int8-g128", 8.125, 1e-14}, {"fp4-g32", 4.5, 0.02}});
  records[0].record.noise_floor = test::MakeNoiseFloor();
  const Answered answered(records, Limited([](auto& x) { x.memory_bytes = 12'000'000'000; }));
  EXPECT_EQ(answered.recommended(), "int8-g128") << "as good as the baseline, and smaller";
  EXPECT_EQ(answered.row("f16").obstacles, Obstacles{Obstacle::kTied});
}

}  // namespace
}  // namespace marlin
