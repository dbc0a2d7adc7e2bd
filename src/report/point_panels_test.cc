// Colours, shapes and names in the figures of points, read from their scripts.
#include "report/point_panels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "base/test_text.h"
#include "records/test_records.h"
#include "report/plots.h"

namespace marlin {
namespace {

// The six configurations by each method, with a KL, and their baseline.
std::vector<StoredRecord> RecordsOf(const std::vector<std::string>& methods, const std::string& model = "minnow") {
  test::Scene scene;
  scene.model = model;
  const std::vector<StoredRecord> seven = test::SevenRecords(scene);
  std::vector<StoredRecord> records = {seven[0]};
  Rng rng(4);
  for (const std::string& method : methods) {
    for (std::size_t i = 1; i < seven.size(); ++i) {
      Record record = seven[i].record;
      record.id = Sha256Hex(record.id + method);
      record.key = "key-" + record.id;
      record.config.method = method;
      record.divergence = test::MakeDivergence(scene, test::SevenShapes()[i]);
      const double factor = 0.5 + rng.Uniform();
      for (double& kl : record.divergence->window_kl) kl *= factor;
      records.push_back(test::Stored(std::move(record)));
    }
  }
  return records;
}

StoredRecord Imported(const std::string& name) {
  Record record = RecordsOf({"rtn"})[3].record;
  record.id = Sha256Hex(name);
  record.key = "key-" + record.id;
  record.config.kind = record::Kind::kImported;
  record.config.id = record.config.display_name = name;
  record.config.label = "GGUF Q4_K";
  record.config.method = "imported";
  record.throughput.reset();
  return test::Stored(std::move(record));
}

struct Text {
  std::string text;
  Box box;
};

// Every text of the script at its estimated width, in pixels; one per plot command of a panel.
std::vector<Text> TextsOf(const Figure& figure) {
  constexpr std::string_view kStart = "set label '";
  constexpr std::string_view kPlace = "' at screen ";
  std::vector<Text> texts;
  for (std::size_t at = figure.script.find(kStart); at != std::string::npos; at = figure.script.find(kStart, at + 1)) {
    const std::size_t begin = at + kStart.size();
    const std::size_t end = figure.script.find(kPlace, begin);
    const std::string text = figure.script.substr(begin, end - begin);
    if (text.empty()) continue;  // a mark of the legend
    const std::string place = figure.script.substr(end + kPlace.size(), figure.script.find('\n', end) - end);
    const double x = std::stod(place) * figure.width_px;
    const double y = std::stod(place.substr(place.find(',') + 1)) * figure.height_px;
    const double width = TextWidth(text, kFontPx);
    if (place.find(" rotate by 90") != std::string::npos) {
      texts.push_back({text, {x - 6, y - width / 2, x + 6, y + width / 2}});
      continue;
    }
    const double left = place.find(" right ") != std::string::npos    ? x - width
                        : place.find(" center ") != std::string::npos ? x - width / 2
                                                                      : x;
    texts.push_back({text, {left, y - 6, left + width, y + 6}});
  }
  return texts;
}

TEST(PointFigures, MethodsHaveShapesOfTheirOwn) {
  const std::vector<StoredRecord> records = RecordsOf({"rtn", "gptq"});
  const Analysis analysis = Analyze(records);
  for (const Figure& figure : {*ScatterFigure(analysis), *KlFigure(analysis)}) {
    for (const char* word : {"'FP4 E2M1'", "'INT4 asymmetric'", "'gptq'", "'rtn'"}) {
      EXPECT_EQ(Count(figure.script, word), 1) << word;
    }
    // Two colours times two shapes, and nothing is imported.
    std::set<std::string> looks;
    constexpr std::string_view kSeries = "with yerrorbars ";
    for (std::size_t at = figure.script.find(kSeries); at != std::string::npos;
         at = figure.script.find(kSeries, at + 1)) {
      looks.insert(figure.script.substr(at, figure.script.find(" notitle", at) - at));
    }
    EXPECT_EQ(looks.size(), 4u);
    EXPECT_EQ(Count(figure.script, "imported"), 0);
  }
}

TEST(PointFigures, ImportedRowsAreHollowAndNamed) {
  std::vector<StoredRecord> records = RecordsOf({"rtn"});
  records.push_back(Imported("other tool Q4_K_M"));
  const Figure figure = *KlFigure(Analyze(records));
  EXPECT_EQ(Count(figure.script, "yerrorbars pointtype 6 "), 1);
  EXPECT_EQ(Count(figure.script, "'other tool Q4_K_M'"), 1);
  EXPECT_EQ(Count(figure.script, "'imported: made by another program'"), 1);
  EXPECT_EQ(Count(ScatterFigure(Analyze(records))->script, "side by side"), 0) << "no method of ours";
  EXPECT_EQ(Count(figure.script, "GGUF Q4_K"), 0) << "no colour of its own";
  const std::vector<StoredRecord> two = {records[0], records.back()};
  const Figure alone = *KlFigure(Analyze(two));
  EXPECT_EQ(Count(alone.script, "yerrorbars"), 1);
}

// At most nine names a panel are drawn in full; with more each configuration has one.
TEST(PointFigures, NamesOfManyRowsDoNotOverlap) {
  std::vector<StoredRecord> records = RecordsOf({"rtn", "mse", "gptq", "gptq-cd"});
  records.push_back(Imported("other tool Q4_K_M"));
  const Analysis analysis = Analyze(records);
  for (const Figure& figure : {*ScatterFigure(analysis), *KlFigure(analysis)}) {
    EXPECT_EQ(Count(figure.script, "set label 'fp4-g128' "), 1);
    EXPECT_EQ(Count(figure.script, "fp4-g128 gptq"), 0);
    const std::vector<Text> texts = TextsOf(figure);
    EXPECT_GE(texts.size(), 7u + 7u);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        EXPECT_EQ(OverlapArea(texts[i].box, texts[j].box), 0) << texts[i].text << " and " << texts[j].text;
      }
    }
  }
  const std::vector<StoredRecord> few = RecordsOf({"gptq"});
  EXPECT_EQ(Count(ScatterFigure(Analyze(few))->script, "set label 'fp4-g128 gptq, "), 1);
}

// Compression of the points of the first data block.
std::vector<double> FirstBlock(const Figure& figure) {
  std::vector<double> values;
  const std::size_t begin = figure.script.find("$series0 << EOD\n") + 16;
  std::istringstream lines(figure.script.substr(begin, figure.script.find("EOD\n", begin) - begin));
  for (std::string line; std::getline(lines, line);) values.push_back(std::stod(line));
  return values;
}

TEST(PointFigures, MethodsStandSideBySideOnlyWhereThereAreSeveral) {
  const std::vector<StoredRecord> one = RecordsOf({"rtn"}, "one");
  std::vector<StoredRecord> records = RecordsOf({"gptq", "rtn"}, "two");
  const double compression = Compression(one[1].record.size);
  const auto holds = [&](const std::vector<double>& all) {
    return std::ranges::any_of(all, [&](double x) { return std::abs(x - compression) < 1e-5; });
  };
  EXPECT_FALSE(holds(FirstBlock(*ScatterFigure(Analyze(records))))) << "the first method lies to the left";
  EXPECT_TRUE(holds(FirstBlock(*ScatterFigure(Analyze(one)))));
  // Beside a panel with two methods the panel with one still shows its points where they belong.
  for (const StoredRecord& stored : one) records.push_back(stored);
  EXPECT_TRUE(holds(FirstBlock(*ScatterFigure(Analyze(records)))));
}

TEST(PointFigures, TheTitleOfEveryAxisIsWhole) {
  std::vector<StoredRecord> records;
  for (const char* model : {"a", "b", "c"}) {
    for (StoredRecord& stored : RecordsOf({"rtn"}, model)) records.push_back(std::move(stored));
  }
  const Analysis analysis = Analyze(records);
  for (const Figure& figure : {*ScatterFigure(analysis), *KlFigure(analysis)}) {
    int titles = 0;
    for (const Text& text : TextsOf(figure)) {
      if (text.text.find("95 % interval") == std::string::npos) continue;
      ++titles;
      EXPECT_GE(text.box.left, 0);
      EXPECT_GE(text.box.bottom, 0);
      EXPECT_LE(text.box.top, figure.height_px);
    }
    EXPECT_EQ(titles, 3);
  }
}

// A step and a method beyond the filled shapes still differ from the hollow one of imported rows.
TEST(PointFigures, NineMethodsHaveNineShapes) {
  std::set<int> shapes = {6};
  for (std::size_t i = 0; i < 9; ++i) EXPECT_TRUE(shapes.insert(StyleAt(i, "").point_type).second) << i;
}

}  // namespace
}  // namespace marlin
