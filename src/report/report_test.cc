#include "report/report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

#include "base/file.h"
#include "base/rng.h"
#include "base/test_environment.h"
#include "base/test_text.h"
#include "records/test_records.h"
#include "report/gnuplot.h"
#include "report/labels.h"
#include "report/plots.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

bool HaveGnuplot() { return DrawFigure({100, 100, "plot 0\n"}, PictureType::kSvg, "gnuplot").ok(); }

class Report : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) /
              ("report-" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  Result<ReportOutput> Generate(const std::vector<StoredRecord>& records, const std::string& gnuplot = "gnuplot") {
    ReportOptions options;
    options.output = folder_;
    options.gnuplot = gnuplot;
    return GenerateReport(Analyze(records), options);
  }
  // name -> bytes of everything in the folder
  std::map<std::string, std::string> Files() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
      if (entry.is_regular_file()) files[entry.path().lexically_relative(folder_)] = *ReadFile(entry.path());
    }
    return files;
  }

  fs::path folder_;
};

TEST_F(Report, SomebodysFileIsLeftAlone) {
  fs::create_directories(folder_ / "plots");
  ASSERT_TRUE(WriteFileAtomic(folder_ / "RESULTS.md", "my own results").ok());
  ASSERT_TRUE(WriteFileAtomic(folder_ / "plots" / "ppl_vs_compression.png", "my own picture").ok());
  const auto before = Files();
  for (const std::vector<StoredRecord>& records : {test::SevenRecords(), std::vector<StoredRecord>{}}) {
    const Result<ReportOutput> output = Generate(records);
    ASSERT_FALSE(output.ok());
    EXPECT_EQ(output.error().code, ErrorCode::kInput);
    EXPECT_EQ(Files(), before);
  }
}

TEST_F(Report, PageAndPlotsAreTheSameBytesEveryTime) {
  if (!HaveGnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  std::vector<StoredRecord> records = test::SevenRecords();
  const Result<ReportOutput> output = Generate(records);
  ASSERT_TRUE(output.ok()) << output.error().message;
  EXPECT_TRUE(output->warnings.empty()) << output->warnings[0];
  const auto first = Files();
  EXPECT_EQ(first.size(), 6u);
  EXPECT_TRUE(first.contains("plots/ppl_vs_compression.png"));
  EXPECT_TRUE(first.contains("plots/throughput_comparison.svg"));
  std::reverse(records.begin(), records.end());
  const SavedEnvironment saved{"LC_ALL"};
  ::setenv("LC_ALL", "de_DE.UTF-8", 1);
  ASSERT_TRUE(Generate(records).ok());
  EXPECT_EQ(Files(), first);
}

TEST_F(Report, WithoutGnuplotThereIsAPageAndAWarning) {
  const Result<ReportOutput> output = Generate(test::SevenRecords(), "no-such-gnuplot");
  ASSERT_TRUE(output.ok()) << output.error().message;
  ASSERT_EQ(output->warnings.size(), 1u);
  const auto files = Files();
  ASSERT_EQ(files.size(), 2u);
  EXPECT_NE(files.at("RESULTS.md").find("not drawn. no-such-gnuplot cannot be started"), std::string::npos);
}

TEST_F(Report, AProgramThatIsNotGnuplotIsAWarning) {
  const Result<ReportOutput> output = Generate(test::SevenRecords(), "true");
  ASSERT_TRUE(output.ok()) << output.error().message;
  EXPECT_EQ(output->warnings.size(), 1u);
}

TEST_F(Report, AnEmptyFolderHasAPageAndNoPlots) {
  const Result<ReportOutput> output = Generate({});
  ASSERT_TRUE(output.ok());
  EXPECT_TRUE(output->warnings.empty());
  EXPECT_EQ(Files().size(), 2u);
}

TEST_F(Report, PlotsThatNoLongerBelongAreRemoved) {
  if (!HaveGnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  ASSERT_TRUE(Generate(test::SevenRecords()).ok());
  ASSERT_TRUE(Generate({}).ok());
  EXPECT_EQ(Files().size(), 2u);
}

TEST_F(Report, APlaceThatCannotBeWrittenIsAnError) {
  fs::create_directories(folder_.parent_path());
  ASSERT_TRUE(WriteFileAtomic(folder_, "a file in the way").ok());
  const Result<ReportOutput> output = Generate({});
  ASSERT_FALSE(output.ok());
  EXPECT_EQ(output.error().code, ErrorCode::kInput);
}

TEST_F(Report, HostileNamesAreOnlyText) {
  if (!HaveGnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  const fs::path trap = folder_ / "trap";
  const std::string evil = "x'; system('touch " + trap.string() + "') `touch " + trap.string() +
                           "` \"a\" %g @b \\n {/Bold c} <d> & ^e_f\n!touch " + trap.string() + "\nEOD\n";
  std::vector<StoredRecord> records = test::SevenRecords();
  for (StoredRecord& stored : records) {
    stored.record.model.name = evil;
    stored.record.config.label = evil;
    stored.record.config.display_name = evil + stored.record.config.id;
    stored.record.machine.cpu = evil;
    stored.record.perplexity->text.name = evil;
  }
  const Result<ReportOutput> output = Generate(records);
  ASSERT_TRUE(output.ok()) << output.error().message;
  EXPECT_TRUE(output->warnings.empty()) << output->warnings[0];
  EXPECT_FALSE(fs::exists(trap));
  EXPECT_NE(Files().at("plots/ppl_vs_compression.svg").find("%g @b \\n {/Bold c} &lt;d> &amp; ^e_f"),
            std::string::npos);
}

// A hundred models are more than one picture holds.
TEST_F(Report, ManyModelsAreDrawnOnPages) {
  if (!HaveGnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  constexpr int kModels = 60;
  std::vector<StoredRecord> records;
  for (int i = 0; i < kModels; ++i) {
    test::Scene scene;
    scene.model = "model-" + std::to_string(i);
    scene.windows = 3;
    scene.quick_timing = true;
    std::vector<StoredRecord> seven = test::SevenRecords(scene);
    seven.resize(2);
    for (StoredRecord& stored : seven) records.push_back(std::move(stored));
  }
  const Result<ReportOutput> output = Generate(records);
  ASSERT_TRUE(output.ok()) << output.error().message;
  EXPECT_TRUE(output->warnings.empty()) << output->warnings[0];
  const auto files = Files();
  const std::string& page = files.at("RESULTS.md");
  for (const std::string name : {"ppl_vs_compression", "throughput_comparison"}) {
    std::size_t pages = 0;
    std::string drawn;
    for (std::string stem = name; files.contains("plots/" + stem + ".png");
         stem = name + "-" + std::to_string(++pages + 1)) {
      EXPECT_NE(page.find("(plots/" + stem + ".png)"), std::string::npos) << stem;
      drawn += files.at("plots/" + stem + ".svg");
    }
    EXPECT_GE(pages, 2u) << name;
    EXPECT_EQ(page.find("(plots/" + name + "-" + std::to_string(pages + 1)), std::string::npos);
    for (int i = 0; i < kModels; ++i) {
      EXPECT_NE(drawn.find(">model-" + std::to_string(i) + "<"), std::string::npos) << name << " lacks model " << i;
    }
  }
  // Fewer models need fewer pages; the others go.
  records.resize(4);
  ASSERT_TRUE(Generate(records).ok());
  EXPECT_EQ(Files().size(), 6u);
}

TEST_F(Report, APlotThatIsTooTallIsSaidAndTheOthersAreDrawn) {
  if (!HaveGnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  std::vector<StoredRecord> records = test::SevenRecords();
  Record& record = records[1].record;
  record.config.kind = record::Kind::kMixed;
  record.plan = record::Plan{{"wikitext2", "abc", 16, 512}, "mse", "fp4-g128", {}};
  for (std::uint64_t layer = 0; layer < 2000; ++layer) {
    record.plan->units.push_back({layer, "o", "int4-g64", 1000, 0.002, 0.003});
  }
  const Result<ReportOutput> output = Generate(records);
  ASSERT_TRUE(output.ok()) << output.error().message;
  ASSERT_EQ(output->warnings.size(), 1u);
  EXPECT_NE(output->warnings[0].find("the plot layer_sensitivity is not drawn: there is too much to draw"),
            std::string::npos)
      << output->warnings[0];
  const auto files = Files();
  EXPECT_TRUE(files.contains("plots/ppl_vs_compression.png"));
  EXPECT_FALSE(files.contains("plots/layer_sensitivity.png"));
  EXPECT_NE(files.at("RESULTS.md").find("not drawn. there is too much to draw"), std::string::npos);
}

TEST_F(Report, OneWindowOnePointAndEqualPointsCanBeDrawn) {
  if (!HaveGnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  test::Scene scene;
  scene.windows = 1;
  std::vector<StoredRecord> records = test::SevenRecords(scene);
  records.resize(2);
  Result<ReportOutput> output = Generate(records);
  ASSERT_TRUE(output.ok());
  EXPECT_TRUE(output->warnings.empty()) << output->warnings[0];

  records = test::SevenRecords();
  for (std::size_t i = 1; i < records.size(); ++i) {
    records[i].record.perplexity->window_nll = records[0].record.perplexity->window_nll;
    records[i].record.size = records[1].record.size;
  }
  output = Generate(records);
  ASSERT_TRUE(output.ok());
  EXPECT_TRUE(output->warnings.empty()) << output->warnings[0];
}

TEST(Plots, NothingToShowMeansNoFigure) {
  std::vector<StoredRecord> records = test::SevenRecords();
  for (StoredRecord& stored : records) {
    stored.record.perplexity.reset();
    stored.record.throughput.reset();
  }
  const Analysis analysis = Analyze(records);
  EXPECT_FALSE(ScatterFigure(analysis).has_value());
  EXPECT_FALSE(ThroughputFigure(analysis).has_value());
}

TEST(Plots, QuickAndStandardTimingsHaveTheirOwnPanels) {
  std::vector<StoredRecord> records = test::SevenRecords();
  const int height = ThroughputFigure(Analyze(records))->height_px;
  test::Scene quick;
  quick.quick_timing = true;
  for (StoredRecord& stored : test::SevenRecords(quick)) records.push_back(std::move(stored));
  const std::optional<Figure> figure = ThroughputFigure(Analyze(records));
  EXPECT_GT(figure->height_px, height);
  EXPECT_NE(figure->script.find("'timing protocol 15/100; "), std::string::npos);
  EXPECT_NE(figure->script.find("'timing protocol quick-2/8, decode quick-10/60; "), std::string::npos);
}

// A line without a name is not drawn, and none runs through the name of another.
TEST(Plots, EveryGuideHasItsName) {
  for (const double stretch : {0.05, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0}) {
    std::vector<StoredRecord> records = test::SevenRecords();
    const std::vector<double> base = records[0].record.perplexity->window_nll;
    for (StoredRecord& stored : records) {
      std::vector<double>& nll = stored.record.perplexity->window_nll;
      for (std::size_t i = 0; i < nll.size(); ++i) nll[i] = base[i] + stretch * (nll[i] - base[i]);
    }
    const std::string script = ScatterFigure(Analyze(records))->script;
    EXPECT_EQ(Count(script, "dashtype 2"), Count(script, "'+1 %'") + Count(script, "'+5 %'")) << stretch;
    EXPECT_EQ(Count(script, "'baseline'"), 1) << stretch;
    if (stretch == 0.1) {
      EXPECT_EQ(Count(script, "'+1 %'"), 1);
    } else if (stretch >= 4) {
      EXPECT_EQ(Count(script, "'+1 %'"), 0) << "one percent lies on the baseline at this scale";
    }
  }
}

TEST(Plots, UnstableSpeedsAreMarkedAndTheMarkIsExplained) {
  std::vector<StoredRecord> records = test::SevenRecords();
  for (const bool stalled : {false, true}) {
    if (stalled) std::fill_n(records[3].record.throughput->decode->samples_ns.begin(), 6, 40e6);
    const Analysis analysis = Analyze(records);
    const std::string scatter = ScatterFigure(analysis)->script;
    const std::string bars = ThroughputFigure(analysis)->script;
    EXPECT_EQ(Count(scatter, " tok/s ‡'"), stalled ? 1 : 0);
    EXPECT_EQ(Count(scatter, "; ‡ unstable'"), stalled ? 1 : 0);
    EXPECT_EQ(Count(bars, "‡'"), stalled ? 1 : 0);
    EXPECT_EQ(Count(bars, "; ‡ unstable'"), stalled ? 1 : 0);
    EXPECT_EQ(Count(bars, "whisker: 5th to 95th percentile"), 1);
  }
}

// Numbers behind bars, at their estimated width, end inside the figure however long the whiskers are.
TEST(Plots, NoTextRunsOutOfTheThroughputFigure) {
  Rng rng(12);
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<StoredRecord> records = test::SevenRecords();
    for (StoredRecord& stored : records) {
      for (double& ns : stored.record.throughput->decode->samples_ns) ns *= std::exp(2 * rng.Uniform());
    }
    const Figure figure = *ThroughputFigure(Analyze(records));
    constexpr std::string_view kStart = "set label '";
    int checked = 0;
    for (std::size_t at = figure.script.find(kStart); at != std::string::npos;
         at = figure.script.find(kStart, at + 1)) {
      const std::size_t text = at + kStart.size();
      const std::size_t end = figure.script.find("' at screen ", text);
      const std::string line = figure.script.substr(end, figure.script.find('\n', end) - end);
      if (line.find(" left ") == std::string::npos) continue;
      const double x = std::stod(line.substr(std::string_view("' at screen ").size())) * figure.width_px;
      EXPECT_LE(x + TextWidth(figure.script.substr(text, end - text), kFontPx), figure.width_px) << line;
      ++checked;
    }
    EXPECT_GE(checked, 14);
  }
}

// The numbers of an axis stand apart, also where they have six digits.
TEST(Plots, NumbersOfTheThroughputAxesStandApart) {
  for (const double factor : {1.0, 20.0, 300.0, 4000.0}) {
    auto records = test::SevenRecords();
    for (StoredRecord& stored : records) {
      for (double& ns : stored.record.throughput->prefill->samples_ns) ns /= factor;
    }
    const Figure figure = *ThroughputFigure(Analyze(records));
    const auto number = [&](const std::string& name) {
      return std::stod(figure.script.substr(figure.script.find(name) + name.size()));
    };
    const double width = (number("set rmargin at screen ") - number("set lmargin at screen ")) * figure.width_px;
    const double x_max = number("set xrange [0:"), step = number("]\nset xtics ");
    const double most = x_max / step;  // numbers of the first panel
    EXPECT_LT(most * (TextWidth(std::to_string(static_cast<int>(x_max)), kFontPx) + 10), width) << x_max << " " << step;
    EXPECT_GT(most, 1.5) << x_max << " by " << step;
  }
}

TEST(Gnuplot, TextsCannotEndTheirString) {
  EXPECT_EQ(GnuplotString("it's"), "'it''s'");
  EXPECT_EQ(GnuplotString("a\nb\\"), "'a b\\'");
}

TEST(ReportLinks, RecordsLinkIsRelative) {
  EXPECT_EQ(RecordsLink("/a/b/results", "/a/b"), "results/");
  EXPECT_EQ(RecordsLink("/a/results", "/a/docs"), "../results/");
  EXPECT_EQ(RecordsLink("/a/results", "/a/results"), "");
  EXPECT_EQ(RecordsLink("/a/results/", "/a/results"), "");
  EXPECT_EQ(RecordsLink("not-there-results", "not-there-yet"), "../not-there-results/");
  EXPECT_EQ(RecordsLink(fs::current_path() / "not-there-results", "not-there-yet"), "../not-there-results/");
}

}  // namespace
}  // namespace marlin
