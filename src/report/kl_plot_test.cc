#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/test_text.h"
#include "records/test_records.h"
#include "report/labels.h"
#include "report/plots.h"

namespace marlin {
namespace {

// The seven rows, each with its own mean KL in nats.
std::vector<StoredRecord> RecordsWithKl(const std::vector<double>& kl) {
  std::vector<StoredRecord> records = test::SevenRecords();
  for (std::size_t i = 0; i < kl.size(); ++i) {
    record::Divergence& x = records[i + 1].record.divergence.emplace(test::MakeDivergence({}, test::SevenShapes()[1]));
    for (std::size_t w = 0; w < x.window_kl.size(); ++w) {
      x.window_kl[w] = 511 * kl[i] * (w % 2 == 0 ? 0.9 : 1.1);
    }
  }
  return records;
}

std::string Script(const std::vector<StoredRecord>& records) { return KlFigure(Analyze(records))->script; }

const std::vector<double> kKl = {0.033, 0.037, 0.039, 0.043, 0.028, 0.034};

TEST(KlPlot, NoneWithoutAKlAboveZero) {
  EXPECT_FALSE(KlFigure(Analyze(test::SevenRecords())).has_value());
  EXPECT_FALSE(KlFigure(Analyze(RecordsWithKl({0}))).has_value());
}

TEST(KlPlot, RowsWithKlArePointsAndOthersAreNot) {
  const std::string script = Script(RecordsWithKl({0.033, 0, 0.039}));
  EXPECT_EQ(Count(script, "set label 'fp4-g32' "), 1);
  EXPECT_EQ(Count(script, "set label 'fp4-g128' "), 1);
  EXPECT_EQ(Count(script, "set label 'int4-g64' "), 0) << "not measured";
  EXPECT_EQ(Count(script, "; KL 0, not drawn: fp4-g64'"), 1);
  EXPECT_EQ(Count(script, "INT4"), 0) << "no point, no series";
}

TEST(KlPlot, AFarNoiseFloorIsWordsAndANearOneALine) {
  std::vector<StoredRecord> records = RecordsWithKl(kKl);
  EXPECT_EQ(Count(Script(records), "noise floor"), 0);
  records[0].record.noise_floor = test::MakeNoiseFloor();
  EXPECT_EQ(Count(Script(records), "'noise floor 6.0e-13 nats: below this axis'"), 1);
  for (const double near : {0.01, 0.03, 0.2}) {
    records[0].record.noise_floor->window_kl = {511 * near};
    const std::string script = Script(records);
    EXPECT_EQ(Count(script, "'noise floor'"), 1) << near;
    EXPECT_EQ(Count(script, "below this axis"), 0) << near;
  }
}

// int4-g128 (4.17 bits), fp4-g256 (4.08) and fp4-g128 (4.14): each a corner unless something smaller is as good.
TEST(KlPlot, TheParetoLineHasTheCornersThatNothingBeats) {
  constexpr const char* kStairs = "linecolor rgb '#c4c4c4'";
  // By bits: fp4-g256 .043, fp4-g128 .039, int4-g128 .034, fp4-g64 .037 (beaten), int4-g64 .028, fp4-g32 .033 (beaten)
  EXPECT_EQ(Count(Script(RecordsWithKl(kKl)), kStairs), 2 * 4);
  EXPECT_EQ(Count(Script(RecordsWithKl({0.05, 0.05, 0.05, 0.01, 0.05, 0.05})), kStairs), 2 * 1);
}

TEST(KlPlot, OfCalibrationTextsTheBestIsDrawn) {
  std::vector<StoredRecord> records = RecordsWithKl(kKl);
  for (const char* text : {"c4", "code"}) {
    Record record = records[3].record;
    record.config.method = "gptq";
    record.config.calibration = record::Calibration{text, Sha256Hex(text), 128, 512};
    record.id = Sha256Hex(text);
    for (double& kl : record.divergence->window_kl) kl *= text == std::string("code") ? 0.5 : 0.6;
    records.push_back(test::Stored(std::move(record)));
  }
  const std::string script = Script(records);
  EXPECT_EQ(Count(script, "set label 'fp4-g128 gptq (code)' "), 1);
  EXPECT_EQ(Count(script, "set label 'fp4-g128 gptq (c4)' "), 0);
  EXPECT_EQ(Count(script, "set label 'fp4-g128' "), 1);
  EXPECT_EQ(Count(script, "of calibration texts the best"), 1);
}

// Every label at its estimated width ends inside the figure.
TEST(KlPlot, NoTextRunsOutOfTheFigure) {
  Rng rng(3);
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<double> kl(6);
    for (double& x : kl) x = std::pow(10.0, -4 * rng.Uniform());
    const Figure figure = *KlFigure(Analyze(RecordsWithKl(kl)));
    constexpr std::string_view kStart = "set label '";
    int checked = 0;
    for (std::size_t at = figure.script.find(kStart); at != std::string::npos;
         at = figure.script.find(kStart, at + 1)) {
      const std::size_t text = at + kStart.size();
      const std::size_t end = figure.script.find("' at screen ", text);
      const std::string place = figure.script.substr(end + 12, figure.script.find('\n', end) - end - 12);
      if (place.find(" rotate ") != std::string::npos) continue;
      const double x = std::stod(place) * figure.width_px;
      const double width = TextWidth(figure.script.substr(text, end - text), kFontPx);
      const double left = place.find(" right ") != std::string::npos    ? x - width
                          : place.find(" center ") != std::string::npos ? x - width / 2
                                                                        : x;
      EXPECT_GE(left, 0) << place;
      EXPECT_LE(left + width, figure.width_px) << place;
      ++checked;
    }
    EXPECT_GE(checked, 6);
  }
}

TEST(KlPlot, AxesAlwaysHaveNumbers) {
  for (const double spread : {1.0001, 1.1, 1.5, 3.0, 20.0, 1e3, 1e6}) {
    const std::string script = Script(RecordsWithKl({0.0123, 0.0123 / spread, 0.0123 / spread}));
    const std::size_t tics = script.find("set ytics (");
    ASSERT_NE(tics, std::string::npos);
    const std::string list = script.substr(tics, script.find('\n', tics) - tics);
    EXPECT_GE(Count(list, ", ") + 1, 2) << spread << " " << list;
    EXPECT_LE(Count(list, ", ") + 1, 20) << spread << " " << list;
  }
}

}  // namespace
}  // namespace marlin
