#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/sha256.h"
#include "base/test_text.h"
#include "records/test_records.h"
#include "report/markdown.h"
#include "report/page_sections.h"
#include "report/plots.h"

namespace marlin {
namespace {

// The seven rows and a mixed one of two layers.
std::vector<StoredRecord> RecordsWithPlan(const std::string& method = "rtn") {
  std::vector<StoredRecord> records = test::SevenRecords();
  Record record = test::MakeRecord({}, {"mixed", "mixed", 0, 4.25, 0.01, 0.0});
  record.id = Sha256Hex("mixed " + method);
  record.config.kind = record::Kind::kMixed;
  record.config.method = method;
  record.config.plan_sha256 = Sha256Hex("plan");
  record.config.budget_bytes = record.size.quantized_tensor_bytes;
  record.plan = record::Plan{{"wiki'text", "abc", 16, 512}, "mse", "fp4-g128", {}};
  for (std::uint64_t layer = 0; layer < 2; ++layer) {
    record.plan->units.push_back({layer, "q k v", "int4-g64", 1000, 0.001, layer == 0 ? 0.0001 : 0.01});
    record.plan->units.push_back({layer, "down", "16-bit", 1000, 0.0, 0.001});
  }
  records.push_back(test::Stored(std::move(record)));
  return records;
}

TEST(SensitivityPlot, NoneWithoutAPlan) { EXPECT_FALSE(SensitivityFigure(Analyze(test::SevenRecords())).has_value()); }

TEST(SensitivityPlot, ACellPerUnitColouredByItsKl) {
  const std::vector<StoredRecord> records = RecordsWithPlan();
  const auto figure = SensitivityFigure(Analyze(records));
  ASSERT_TRUE(figure.has_value());
  EXPECT_EQ(Count(figure->script, "set object rectangle"), 4 + 5) << "units, and the meaning of the colours";
  EXPECT_EQ(Count(figure->script, "set label 'int4-g64'"), 2);
  EXPECT_EQ(Count(figure->script, "set label '16-bit'"), 2);
  EXPECT_EQ(Count(figure->script, "fillcolor rgb '#08306b'"), 2) << "the largest KL, once in the legend";
  EXPECT_EQ(Count(figure->script, "fillcolor rgb '#eff3ff'"), 2) << "the least";
  EXPECT_EQ(Count(figure->script, "'layer 0'"), 1);
  EXPECT_EQ(Count(figure->script, "wiki''text"), 1) << "nothing ends a string";
}

TEST(SensitivityPlot, RowsOfOnePlanShareAPanel) {
  std::vector<StoredRecord> records = RecordsWithPlan();
  records.push_back(RecordsWithPlan("gptq").back());
  EXPECT_EQ(Count(SensitivityFigure(Analyze(records))->script, "'layer 0'"), 1);
  records.back().record.config.plan_sha256 = Sha256Hex("another plan");
  EXPECT_EQ(Count(SensitivityFigure(Analyze(records))->script, "'layer 0'"), 2);
}

TEST(SensitivityPlot, UnitsWithoutAMeasurementStayOut) {
  std::vector<StoredRecord> records = RecordsWithPlan();
  for (record::PlanUnit& unit : records.back().record.plan->units) unit.probe_kl.reset();
  EXPECT_FALSE(SensitivityFigure(Analyze(records)).has_value());
  records.back().record.plan->units[1].probe_kl = 0;
  const auto figure = SensitivityFigure(Analyze(records));
  ASSERT_TRUE(figure.has_value()) << "a KL of 0 has a colour but no scale";
  EXPECT_EQ(Count(figure->script, "set object rectangle"), 1);
}

TEST(SensitivityPlot, ThePageCountsTheFormatsOfAPlan) {
  const std::vector<StoredRecord> records = RecordsWithPlan();
  const std::string section = ToMarkdown(MixedSection(Analyze(records), {}));
  EXPECT_EQ(Count(section, "| 16-bit: 2, int4-g64: 2 | 2.000 |"), 1) << section;
  EXPECT_EQ(Count(section, "16 x 512 tokens, fp4-g128 by mse"), 1) << section;
}

}  // namespace
}  // namespace marlin
