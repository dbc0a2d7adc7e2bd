// Sections 3 and 4, and their plots.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "base/test_text.h"
#include "records/test_records.h"
#include "report/comparisons.h"
#include "report/labels.h"
#include "report/page.h"
#include "report/plots.h"
#include "report/test_page.h"

namespace marlin {
namespace {

std::string SectionOf(const std::vector<StoredRecord>& records, const std::string& from, const std::string& to) {
  const std::string page = RenderPage(Analyze(records), {});
  return page.substr(page.find(from), page.find(to) - page.find(from));
}
std::string MixedPart(const std::vector<StoredRecord>& records) { return SectionOf(records, "## 3.", "## 4."); }
std::string TextPart(const std::vector<StoredRecord>& records) { return SectionOf(records, "## 4.", "## 5."); }

// Mean KL in nats, a tenth more and less in every second window.
void SetKl(Record& record, double kl, double spread = 0.1) {
  record::Divergence& x = record.divergence.emplace(test::MakeDivergence({}, test::SevenShapes()[1]));
  for (std::size_t w = 0; w < x.window_kl.size(); ++w)
    x.window_kl[w] = 511 * kl * (w % 2 == 0 ? 1 - spread : 1 + spread);
}

StoredRecord MixedRecord(double delta_nll, double bits = 4.25) {
  Record record = test::MakeRecord({}, {"mixed", "mixed", 0, bits, delta_nll, 0.0});
  record.config.kind = record::Kind::kMixed;
  record.config.bits = 0;
  record.config.plan_sha256 = Sha256Hex(std::to_string(bits));
  record.config.budget_bytes = record.size.quantized_tensor_bytes;
  record.id = Sha256Hex("mixed" + std::to_string(bits));
  return test::Stored(std::move(record));
}

TEST(Comparisons, MixedMeetsTheBestUniformRowOfItsBudget) {
  std::vector<StoredRecord> records = test::SevenRecords();
  records.push_back(MixedRecord(0.01));
  const std::string section = MixedPart(records);
  EXPECT_TRUE(Has(section, "### SmolLM2-135M-Instruct\n")) << section;
  EXPECT_TRUE(Has(section, "| 4.2500 | [int4-g128](")) << section;  // int4-g64 is better but does not fit
  EXPECT_TRUE(Has(section, "| [mixed 4.25 bits](")) << section;
  EXPECT_TRUE(Has(section, "| not measured | mixed is better |")) << section;
  records.back() = MixedRecord(0.4);
  EXPECT_TRUE(Has(MixedPart(records), "mixed is worse"));
}

TEST(Comparisons, KlDecidesOverMixedAndADifferenceInsideItsIntervalIsNone) {
  std::vector<StoredRecord> records = test::SevenRecords();
  records.push_back(MixedRecord(0.4));
  for (std::size_t i = 1; i < records.size(); ++i) SetKl(records[i].record, 0.01 * static_cast<double>(i + 1));
  SetKl(records.back().record, 0.02);  // below all that fit: fp4-g64 has 0.03
  std::string section = MixedPart(records);
  EXPECT_TRUE(Has(section, "| [fp4-g64](")) << section;
  EXPECT_TRUE(Has(section, "mixed is better by KL; perplexity says the opposite")) << section;
  // As good on the mean, now better and now worse.
  std::vector<double>& kl = records.back().record.divergence->window_kl;
  const std::vector<double>& other = records[2].record.divergence->window_kl;
  for (std::size_t w = 0; w < kl.size(); ++w) kl[w] = other[w] + (w % 2 == 0 ? 1 : -1);
  section = MixedPart(records);
  EXPECT_TRUE(Has(section, "no measurable difference")) << section;
  EXPECT_EQ(Count(MixedFigure(Analyze(records))->script, "'no measurable difference'"), 1);
}

TEST(Comparisons, ThePlotShowsKlWhereBothRowsOfAPairHaveIt) {
  std::vector<StoredRecord> records = test::SevenRecords();
  records.push_back(MixedRecord(0.01));  // beside int4-g128
  SetKl(records.back().record, 0.02);
  EXPECT_TRUE(Has(MixedFigure(Analyze(records))->script, "perplexity delta, %"));
  SetKl(records[6].record, 0.03);
  const std::string script = MixedFigure(Analyze(records))->script;
  EXPECT_TRUE(Has(script, "mean KL")) << "other rows lack it";
  EXPECT_FALSE(Has(script, "perplexity delta, %"));
}

TEST(Comparisons, UniformIsOfTheSameMethodTextAndTensors) {
  std::vector<StoredRecord> records = test::SevenRecords();
  records.push_back(MixedRecord(0.01));
  records.back().record.config.method = "gptq";
  EXPECT_TRUE(Has(MixedPart(records), "| none within the budget | [mixed 4.25 bits gptq]("));
  EXPECT_EQ(test::CellUnder(MixedPart(records), "Uniform KL", "mixed 4.25 bits gptq"), "not measured");
  EXPECT_FALSE(MixedFigure(Analyze(records)).has_value());
  records[3].record.config.method = "gptq";
  EXPECT_TRUE(Has(MixedPart(records), "| [fp4-g128 gptq]("));
  const record::Calibration text{"wikitext2", Sha256Hex("wikitext2"), 128, 512};
  records.back().record.config.calibration = text;
  EXPECT_TRUE(Has(MixedPart(records), "none within the budget")) << "only the mixed row has a text";
  records[3].record.config.calibration = record::Calibration{"bartowski-v3", Sha256Hex("bartowski-v3"), 128, 512};
  EXPECT_TRUE(Has(MixedPart(records), "none within the budget")) << "another text";
  records[3].record.config.calibration = text;
  EXPECT_TRUE(Has(MixedPart(records), "| [fp4-g128 gptq (wikitext2)]("));
  records[3].record.config.quantized_embeddings = true;
  EXPECT_TRUE(Has(MixedPart(records), "none within the budget"));
}

// A plan that leaves some weights in 16 bits has fewer quantized ones; then all bytes count.
TEST(Comparisons, APlanWithSixteenBitTensorsIsComparedByAllItsBytes) {
  std::vector<StoredRecord> records = test::SevenRecords();
  records.push_back(MixedRecord(0.01));
  record::Size& size = records.back().record.size;
  size.quantized_parameters -= 10'000'000;
  size.model_bytes = records[6].record.size.model_bytes;  // int4-g128
  EXPECT_TRUE(Has(MixedPart(records), "| [int4-g128]("));
  size.model_bytes -= 1;
  EXPECT_FALSE(Has(MixedPart(records), "| [int4-g128]("));
}

TEST(Comparisons, TwoBudgetsAreTwoLines) {
  std::vector<StoredRecord> records = test::SevenRecords();
  records.push_back(MixedRecord(0.02, 4.25));
  records.push_back(MixedRecord(0.01, 4.5));
  const std::string section = MixedPart(records);
  EXPECT_TRUE(Has(section, "| 4.2500 | [int4-g128](")) << section;
  EXPECT_TRUE(Has(section, "| 4.5000 | [int4-g64](")) << section;
  const std::optional<Figure> figure = MixedFigure(Analyze(records));
  ASSERT_TRUE(figure.has_value());
  EXPECT_EQ(Count(figure->script, "set label 'int4-g128 / mixed 4.25 bits' "), 1);
  EXPECT_EQ(Count(figure->script, "set label 'int4-g64 / mixed 4.5 bits' "), 1);
}

StoredRecord CalibratedRecord(const std::string& text, double delta_nll, std::uint64_t windows = 128) {
  Record record = test::MakeRecord({}, {"fp4-g128", "FP4 E2M1", 128, 4.139, delta_nll, 0.0});
  record.config.method = "gptq";
  record.config.calibration = record::Calibration{text, Sha256Hex(text), windows, 512};
  record.id = Sha256Hex(text + std::to_string(windows));
  return test::Stored(std::move(record));
}

TEST(Comparisons, CalibrationTextsStandUnderTheirOwnNames) {
  std::vector<StoredRecord> records = test::SevenRecords();
  records.push_back(CalibratedRecord("wikitext2", 0.05));
  records.push_back(CalibratedRecord("bartowski-v3", 0.06));
  records.push_back(CalibratedRecord("c4", 0.07));
  const std::string section = TextPart(records);
  EXPECT_EQ(test::CellUnder(section, "Delta % [95 %]", "bartowski-v3"), "+6.18 [+6.18, +6.18]") << section;
  EXPECT_EQ(test::CellUnder(section, "Config", "c4"), "fp4-g128");
  EXPECT_EQ(test::CellUnder(section, "Method", "c4"), "gptq");
  EXPECT_TRUE(Has(section, "| fp4-g128 gptq | WikiText-2 vs Bartowski v3 | [+5.13](")) << section;
  EXPECT_TRUE(Has(section, ".json) | [+6.18](")) << section;
  EXPECT_TRUE(Has(section, ".json) | +1.01 [+1.01, +1.01] | not measured | first is better |")) << section;
  EXPECT_TRUE(Has(section, "| wikitext2 vs c4 | [+5.13](")) << section;
  EXPECT_TRUE(Has(section, ".json) | +2.02 [+2.02, +2.02] |")) << section;
  EXPECT_EQ(Count(section, " vs "), 3) << "the pair, the other text, and the caption";
  EXPECT_TRUE(Has(RenderPage(Analyze(records), {}), " | [fp4-g128 gptq (c4)]("));

  records[8].record.perplexity->window_nll = records[7].record.perplexity->window_nll;
  EXPECT_TRUE(Has(TextPart(records), "calibration made no difference"));
}

TEST(Comparisons, OtherTextsNeverFillThePagesLine) {
  std::vector<StoredRecord> records = test::SevenRecords();
  for (const char* text : {"wikitext2-valid", "c4"}) records.push_back(CalibratedRecord(text, 0.05));
  EXPECT_TRUE(Has(TextPart(records), "- wikitext2-valid: other articles of the collection"));
  const std::string section = TextPart(records);
  EXPECT_LT(section.find("c4 vs wikitext2-valid"), section.find("| every configuration |")) << section;
  EXPECT_TRUE(
      Has(section,
          "| every configuration | WikiText-2 vs Bartowski v3 | not measured | not measured | not measured | not "
          "measured | not measured |"))
      << section;
  records.push_back(CalibratedRecord("wikitext2", 0.05));
  EXPECT_TRUE(Has(TextPart(records), "| WikiText-2 vs Bartowski v3 | not measured |"));
  records.push_back(CalibratedRecord("bartowski-v3", 0.06, 32));
  EXPECT_TRUE(Has(TextPart(records), "| WikiText-2 vs Bartowski v3 | not measured |")) << "other windows";
  records.push_back(CalibratedRecord("wikitext2", 0.07, 32));
  EXPECT_TRUE(Has(TextPart(records), ".json) | -1.00 [-1.00, -1.00] | not measured | second is better |"))
      << TextPart(records);
}

TEST(Comparisons, CalibrationPlotHasADotPerText) {
  std::vector<StoredRecord> records = test::SevenRecords();
  EXPECT_FALSE(CalibrationFigure(Analyze(records)).has_value());
  records.push_back(CalibratedRecord("c4", 0.05));
  EXPECT_FALSE(CalibrationFigure(Analyze(records)).has_value()) << "one text has no effect to show";
  records.push_back(CalibratedRecord("code", 0.06));
  const std::optional<Figure> figure = CalibrationFigure(Analyze(records));
  ASSERT_TRUE(figure.has_value());
  EXPECT_EQ(Count(figure->script, "set label 'fp4-g128 gptq' "), 1);
  EXPECT_EQ(Count(figure->script, "set label 'c4' "), 1);
  EXPECT_EQ(Count(figure->script, "set label '+1.01 [+1.01, +1.01]' "), 1);
  EXPECT_TRUE(Has(figure->script, "perplexity delta"));
}

TEST(Comparisons, LongNamesAreClippedAtTheEdges) {
  std::vector<StoredRecord> records = test::SevenRecords();
  records.push_back(MixedRecord(0.01));
  records.push_back(CalibratedRecord("a", 0.05));
  records.push_back(CalibratedRecord("b", 0.05));
  for (StoredRecord& stored : records)
    stored.record.config.display_name += " ± a name as long as a short novel" + std::string(60, 'w');
  const Analysis analysis = Analyze(records);
  for (const auto& figure : {MixedFigure(analysis), CalibrationFigure(analysis)}) {
    ASSERT_TRUE(figure.has_value());
    constexpr std::string_view kStart = "set label '";
    int clipped = 0;
    for (std::size_t at = figure->script.find(kStart); at != std::string::npos;
         at = figure->script.find(kStart, at + 1)) {
      const std::size_t text = at + kStart.size();
      const std::size_t end = figure->script.find("' at screen ", text);
      const std::string place = figure->script.substr(end + 12, figure->script.find('\n', end) - end - 12);
      const double x = std::stod(place) * figure->width_px;
      const double width = TextWidth(figure->script.substr(text, end - text), kFontPx);
      const bool right = Has(place, " right ");
      EXPECT_GE(right ? x - width : x, 0) << place;
      EXPECT_LE(right ? x : x + width, figure->width_px) << place;
      clipped += right && Has(figure->script.substr(text, end - text), "...") ? 1 : 0;
    }
    EXPECT_EQ(clipped, 1);
  }
}

TEST(Comparisons, MethodsOfOneConfigurationAreTwoRows) {
  std::vector<StoredRecord> records = test::SevenRecords();
  Record gptq = records[3].record;
  gptq.config.method = "gptq";
  gptq.id = Sha256Hex("gptq");
  records.push_back(test::Stored(std::move(gptq)));
  const Analysis analysis = Analyze(records);
  EXPECT_EQ(analysis.shown.size(), 8u);
  const std::string page = RenderPage(analysis, {});
  EXPECT_TRUE(Has(page, " | [fp4-g128]("));
  EXPECT_TRUE(Has(page, " | [fp4-g128 gptq]("));
}

}  // namespace
}  // namespace marlin
