#include "report/kernel_plots.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "base/test_text.h"
#include "report/labels.h"

namespace marlin {
namespace {

// A layer of n x k weights of half a byte: 10 us for one token, and what arithmetic at `gflops` takes for more.
KernelSpeed SpeedOf(const std::string& format, std::size_t m, std::size_t n, std::size_t k, double us) {
  KernelSpeed speed;
  speed.m = m;
  speed.n = n;
  speed.k = k;
  speed.format = format;
  speed.us = us;
  speed.flops = 2.0 * static_cast<double>(m * n * k);
  speed.bytes = 0.5 * static_cast<double>(n * k);
  speed.peak_gflops = 400;
  return speed;
}

// 1000 x 1000 at 10 us for m = 1: 200 GFLOP/s, 4 FLOP per byte, so that at a peak of 400 arithmetic bounds from m = 2.
KernelPlotInput Input() {
  KernelPlotInput input;
  for (const char* format : {"fp4-g128", "int4-g64"}) {
    input.speeds.push_back(SpeedOf(format, 1, 1000, 1000, 10));
    input.speeds.push_back(SpeedOf(format, 8, 1000, 1000, 50));
  }
  input.setting = "2 threads, it's a CPU";
  input.read_gbps = 80;
  input.peaks = {{"fp32 peak", 400}};
  return input;
}

TEST(RooflineFigure, HasAPointPerSpeedUnderTheLimits) {
  const std::string script = RooflineFigure(Input())->script;
  EXPECT_EQ(Count(script, "set logscale xy\n"), 1);
  EXPECT_EQ(Count(script, "\n4 200\n"), 2) << "m = 1, both formats";
  EXPECT_EQ(Count(script, "\n32 320\n"), 2) << "m = 8";
  EXPECT_EQ(Count(script, "\n5 400\n"), 2) << "bandwidth ends and the peak begins at 400 / 80";
  EXPECT_EQ(Count(script, "'fp32 peak: 400 GFLOP/s'"), 1);
  EXPECT_EQ(Count(script, "'read: 80.0 GB/s'"), 1);
  EXPECT_EQ(Count(script, "'2 threads, it''s a CPU'"), 1);
  EXPECT_EQ(Count(script, "set label 'fp4-g128' "), 1);
  EXPECT_EQ(Count(script, "set label 'int4-g64' "), 1);
}

TEST(RooflineFigure, DrawsNoLimitThatIsUnknown) {
  KernelPlotInput input = Input();
  input.read_gbps = 0;
  EXPECT_EQ(Count(RooflineFigure(input)->script, "read: "), 0);
  EXPECT_EQ(Count(RooflineFigure(input)->script, "fp32 peak"), 1);
  input.peaks.clear();
  EXPECT_EQ(Count(RooflineFigure(input)->script, "fp32 peak"), 0);
  EXPECT_FALSE(RooflineFigure({}).has_value());
}

TEST(TokensFigure, IsRelativeToOneTokenAndToArithmetic) {
  const std::string script = TokensFigure(Input())->script;
  EXPECT_EQ(Count(script, "EOD\n1 1\n8 5\nEOD"), 2) << "10 us and 50 us";
  EXPECT_EQ(Count(script, "EOD\n1 1\n2 1\n8 4\nEOD"), 2) << "from m = 2 on 400 GFLOP/s are too few";
  EXPECT_EQ(Count(script, "'n = 1000, k = 1000'"), 1);
  EXPECT_EQ(Count(script, "set xtics ('1' 1, '8' 8)"), 1);
}

TEST(TokensFigure, LabelsStandApart) {
  KernelPlotInput input = Input();
  const std::vector<KernelSpeed> some = input.speeds;
  for (const std::size_t m : {7, 9, 10, 12, 14, 16}) {
    for (KernelSpeed speed : some) {
      if (speed.m == 1) continue;
      speed.m = m;
      input.speeds.push_back(speed);
    }
  }
  EXPECT_EQ(Count(TokensFigure(input)->script, "set xtics ('1' 1, '8' 8, '10' 10, '12' 12, '16' 16)"), 1)
      << TokensFigure(input)->script;
}

TEST(TokensFigure, TheLimitMayBeFlatOrBoundFromTheStart) {
  KernelPlotInput input = Input();
  for (KernelSpeed& speed : input.speeds) speed.peak_gflops = 4000;  // 20 tokens in the time of one
  EXPECT_EQ(Count(TokensFigure(input)->script, "EOD\n1 1\n8 1\nEOD"), 2);
  for (KernelSpeed& speed : input.speeds) speed.peak_gflops = 100;
  EXPECT_EQ(Count(TokensFigure(input)->script, "EOD\n1 2\n1 2\n8 16\nEOD"), 2);
  for (KernelSpeed& speed : input.speeds) speed.peak_gflops.reset();
  EXPECT_EQ(Count(TokensFigure(input)->script, "dashtype"), 0);
}

TEST(TokensFigure, NeedsOneTokenAndOthers) {
  KernelPlotInput input = Input();
  std::erase_if(input.speeds, [](const KernelSpeed& speed) { return speed.m == 1; });
  EXPECT_FALSE(TokensFigure(input).has_value());
  input.speeds = {SpeedOf("fp4-g128", 1, 10, 10, 1), SpeedOf("fp4-g128", 8, 20, 10, 1)};
  EXPECT_FALSE(TokensFigure(input).has_value()) << "other layers";
}

TEST(TokensFigure, HasAPanelPerLayer) {
  KernelPlotInput input = Input();
  for (const std::size_t n : {2000, 3000}) {
    input.speeds.push_back(SpeedOf("fp4-g128", 1, n, 1000, 20));
    input.speeds.push_back(SpeedOf("fp4-g128", 64, n, 1000, 400));
  }
  input.speeds.push_back(SpeedOf("fp4-g128", 1, 4000, 1000, 20));
  const Figure figure = *TokensFigure(input);
  EXPECT_EQ(Count(figure.script, "set label 'n = "), 3);
  EXPECT_GT(figure.height_px, TokensFigure(Input())->height_px);
}

// Ten formats fill more than one line of the legend.
TEST(KernelPlots, NoNameRunsOutOfTheFigure) {
  KernelPlotInput input;
  for (int i = 0; i < 12; ++i) {
    const std::string format = "a-long-format-" + std::to_string(i);
    input.speeds.push_back(SpeedOf(format, 1, 100, 100, 10 + i));
    input.speeds.push_back(SpeedOf(format, 8, 100, 100, 30 + i));
  }
  input.read_gbps = 3;
  for (const Figure& figure : {*RooflineFigure(input), *TokensFigure(input)}) {
    constexpr std::string_view kStart = "set label 'a-long";
    int checked = 0;
    for (std::size_t at = figure.script.find(kStart); at != std::string::npos;
         at = figure.script.find(kStart, at + 1)) {
      const std::size_t text = at + std::string_view("set label '").size();
      const std::size_t end = figure.script.find("' at screen ", text);
      const double x = std::stod(figure.script.substr(end + 12)) * figure.width_px;
      EXPECT_LE(x + TextWidth(figure.script.substr(text, end - text), kFontPx), figure.width_px);
      ++checked;
    }
    EXPECT_EQ(checked, 12);
  }
}

}  // namespace
}  // namespace marlin
