#include "base/statistics.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "base/rng.h"

namespace marlin {
namespace {

std::vector<double> Repeat(double value, std::size_t count) { return std::vector<double>(count, value); }

// Windows of 511 tokens whose mean NLL is normal(mean, spread).
std::vector<double> NormalWindows(std::size_t count, double mean, double spread, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<double> nll(count);
  for (double& x : nll) x = 511 * (mean + spread * rng.Normal());
  return nll;
}

TEST(Statistics, QuantileIsLinearBetweenNeighbours) {
  const std::array<double, 4> samples = {4, 1, 3, 2};
  EXPECT_DOUBLE_EQ(Quantile(samples, 0), 1);
  EXPECT_DOUBLE_EQ(Quantile(samples, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(Quantile(samples, 0.25), 1.75);
  EXPECT_DOUBLE_EQ(Quantile(samples, 1), 4);
  EXPECT_DOUBLE_EQ(Quantile(std::array<double, 1>{7}, 0.9), 7);
}

TEST(Statistics, MeanHasTheIntervalOfTheBootstrap) {
  const std::vector<double> sums = NormalWindows(50, 0.1, 0.03, 5);
  const std::vector<double> counts = Repeat(511, 50);
  const MeanEstimate found = EstimateMean(sums, counts);
  ASSERT_TRUE(found.mean_95.has_value());
  std::vector<double> means = BootstrapMeans(sums, counts);
  EXPECT_DOUBLE_EQ(found.mean_95->low, Quantile(means, 0.025));
  EXPECT_DOUBLE_EQ(found.mean_95->high, Quantile(means, 0.975));
  EXPECT_TRUE(found.mean_95->Contains(found.mean));
  EXPECT_TRUE(found.distinguished());
  EXPECT_FALSE(EstimateMean(NormalWindows(50, 0, 0.03, 6), counts).distinguished());
  EXPECT_FALSE(EstimateMean(std::array<double, 1>{3}, std::array<double, 1>{511}).mean_95.has_value());
}

// The same draws and the same order of sums as one resample after the other.
TEST(Statistics, TheBootstrapHasTheBitsOfItsDefinition) {
  for (const std::size_t windows : {1u, 2u, 17u, 600u, 601u, 5000u, 17u}) {
    for (const bool equal : {true, false}) {
      const std::vector<double> sums = NormalWindows(windows, 3, 0.5, windows);
      std::vector<double> counts = Repeat(511, windows);
      if (!equal) counts.back() = 64;
      Rng rng(kBootstrapSeed);
      std::vector<double> want(kBootstrapResamples);
      for (double& mean : want) {
        double sum = 0;
        double count = 0;
        for (std::size_t i = 0; i < windows; ++i) {
          const std::size_t drawn = rng.Below(windows);
          sum += sums[drawn];
          count += counts[drawn];
        }
        mean = sum / count;
      }
      EXPECT_EQ(BootstrapMeans(sums, counts), want) << windows << (equal ? " equal" : " unequal");
    }
  }
}

TEST(Statistics, LogHistogramCountsBetweenItsEdges) {
  const std::array<double, 9> samples = {0, -1, 0.0099, 0.01, 0.05, 0.0999, 0.5, 1, 1e9};
  const LogHistogram found = MakeLogHistogram(samples, 0.01, 2, 1);
  EXPECT_EQ(found.counts, (std::vector<std::uint64_t>{3, 3, 1, 2}));
  EXPECT_EQ(MakeLogHistogram(samples, 1e-12, 14, 4).counts.size(), 58u);
}

TEST(Statistics, MeanAndDeviationAreTheSamples) {
  const std::array<double, 8> samples = {2, 4, 4, 4, 5, 5, 7, 9};
  const MeanDeviation found = MeanAndDeviation(samples);
  EXPECT_DOUBLE_EQ(found.mean, 5);
  EXPECT_DOUBLE_EQ(found.deviation, std::sqrt(32.0 / 7));
}

TEST(Statistics, UniformPredictionsGiveTheVocabularyAsPerplexity) {
  const double vocabulary = 49152;
  const std::vector<double> nll = Repeat(511 * std::log(vocabulary), 40);
  const PerplexityEstimate found = EstimatePerplexity({nll, Repeat(511, 40)});
  EXPECT_NEAR(found.perplexity, vocabulary, 1e-6 * vocabulary);
  ASSERT_TRUE(found.standard_error.has_value());
  EXPECT_NEAR(*found.standard_error, 0, 1e-6);
}

TEST(Statistics, PerplexityWeighsWindowsByTheirTokens) {
  const std::array<double, 2> nll = {100 * 1.0, 300 * 2.0};
  const std::array<double, 2> tokens = {100, 300};
  EXPECT_DOUBLE_EQ(EstimatePerplexity({nll, tokens}).mean_nll, 1.75);
}

TEST(Statistics, OneWindowHasNoError) {
  const std::array<double, 1> nll = {511 * 3.0};
  const std::array<double, 1> tokens = {511};
  EXPECT_FALSE(EstimatePerplexity({nll, tokens}).standard_error.has_value());
  const PairedDelta delta = EstimatePairedDelta({nll, tokens}, {nll, tokens});
  EXPECT_FALSE(delta.percent_95.has_value());
  EXPECT_FALSE(delta.distinguished());
}

// The standard error of a mean of n independent windows is spread / sqrt(n); of the perplexity, that times PPL.
TEST(Statistics, StandardErrorAgreesWithTheClosedForm) {
  const std::size_t n = 400;
  const std::vector<double> nll = NormalWindows(n, 3.0, 0.2, 1);
  const PerplexityEstimate found = EstimatePerplexity({nll, Repeat(511, n)});
  std::vector<double> means(nll);
  for (double& x : means) x /= 511;
  const double expected = found.perplexity * MeanAndDeviation(means).deviation / std::sqrt(static_cast<double>(n));
  EXPECT_NEAR(*found.standard_error / expected, 1, 0.1);
}

TEST(Statistics, ConstantDifferenceIsExactAndHasNoWidth) {
  const std::vector<double> base = NormalWindows(50, 3.0, 0.3, 2);
  std::vector<double> other(base);
  for (double& x : other) x += 511 * std::log(1.05);
  const PairedDelta delta = EstimatePairedDelta({base, Repeat(511, 50)}, {other, Repeat(511, 50)});
  EXPECT_NEAR(delta.percent, 5, 1e-9);
  ASSERT_TRUE(delta.percent_95.has_value());
  EXPECT_NEAR(delta.percent_95->low, 5, 1e-9);
  EXPECT_NEAR(delta.percent_95->high, 5, 1e-9);
  EXPECT_TRUE(delta.distinguished());
}

TEST(Statistics, IntervalAgreesWithTheNormalOne) {
  const std::size_t n = 500;
  const std::vector<double> base = NormalWindows(n, 3.0, 0.3, 3);
  const std::vector<double> noise = NormalWindows(n, 0.02, 0.05, 4);
  std::vector<double> other(base);
  for (std::size_t i = 0; i < n; ++i) other[i] += noise[i];
  const PairedDelta delta = EstimatePairedDelta({base, Repeat(511, n)}, {other, Repeat(511, n)});
  std::vector<double> means(noise);
  for (double& x : means) x /= 511;
  const MeanDeviation found = MeanAndDeviation(means);
  const double half_width = 1.96 * found.deviation / std::sqrt(static_cast<double>(n));
  EXPECT_NEAR(delta.percent_95->low, 100 * std::expm1(found.mean - half_width), 0.08);
  EXPECT_NEAR(delta.percent_95->high, 100 * std::expm1(found.mean + half_width), 0.08);
  EXPECT_TRUE(delta.percent_95->Contains(delta.percent));
}

TEST(Statistics, PairingIsNarrowerThanTheErrorOfEitherPerplexity) {
  const std::vector<double> base = NormalWindows(100, 3.0, 0.3, 5);
  std::vector<double> other(base);
  for (std::size_t i = 0; i < other.size(); ++i) other[i] *= 1.01;
  const std::vector<double> tokens = Repeat(511, 100);
  const PerplexityEstimate alone = EstimatePerplexity({base, tokens});
  const PairedDelta delta = EstimatePairedDelta({base, tokens}, {other, tokens});
  const double alone_percent = 100 * *alone.standard_error / alone.perplexity;
  EXPECT_LT(delta.percent_95->high - delta.percent_95->low, alone_percent);
}

TEST(Statistics, DistinguishedOnlyWhenTheIntervalExcludesZero) {
  const std::size_t n = 100;
  const std::vector<double> tokens = Repeat(511, n);
  const std::vector<double> base = NormalWindows(n, 3.0, 0.3, 6);
  std::vector<double> same(base);
  std::vector<double> worse(base);
  for (std::size_t i = 0; i < n; ++i) {
    same[i] += i % 2 == 0 ? 5 : -5;
    worse[i] += i % 2 == 0 ? 7 : -3;
  }
  EXPECT_FALSE(Distinguished({base, tokens}, {same, tokens}));
  EXPECT_TRUE(Distinguished({base, tokens}, {worse, tokens}));
  EXPECT_TRUE(Distinguished({worse, tokens}, {base, tokens}));
  EXPECT_FALSE(Distinguished({base, tokens}, {base, tokens}));
}

TEST(Statistics, SameInputSameBits) {
  const std::vector<double> base = NormalWindows(64, 3.0, 0.3, 7);
  const std::vector<double> other = NormalWindows(64, 3.1, 0.3, 8);
  const std::vector<double> tokens = Repeat(511, 64);
  const PairedDelta a = EstimatePairedDelta({base, tokens}, {other, tokens});
  const PairedDelta b = EstimatePairedDelta({base, tokens}, {other, tokens});
  EXPECT_EQ(a.percent, b.percent);
  EXPECT_EQ(a.percent_95->low, b.percent_95->low);
  EXPECT_EQ(a.percent_95->high, b.percent_95->high);
}

TEST(Statistics, NanWindowsStayNan) {
  std::vector<double> base = NormalWindows(40, 3.0, 0.3, 9);
  const std::vector<double> tokens = Repeat(511, 40);
  std::vector<double> broken(base);
  broken[7] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(std::isnan(EstimatePerplexity({broken, tokens}).perplexity));
  const PairedDelta delta = EstimatePairedDelta({base, tokens}, {broken, tokens});
  EXPECT_TRUE(std::isnan(delta.percent));
  EXPECT_FALSE(delta.distinguished());
}

TEST(Statistics, TrimmingRemovesOutliersOnce) {
  std::vector<double> samples = Repeat(100, 99);
  samples.push_back(1000);
  const TimingSummary found = SummarizeTimings(samples);
  EXPECT_EQ(found.samples, 100u);
  EXPECT_EQ(found.removed, 1u);
  EXPECT_DOUBLE_EQ(found.mean, 100);
  EXPECT_DOUBLE_EQ(found.cv, 0);
  EXPECT_DOUBLE_EQ(found.median, 100);
  EXPECT_DOUBLE_EQ(found.mad, 0);
}

// 1000 and 300: at first only 1000 is beyond 2 sigma; a second pass would remove 300 as well.
TEST(Statistics, TrimmingDoesNotRepeat) {
  std::vector<double> samples = Repeat(100, 30);
  samples.push_back(300);
  samples.push_back(1000);
  const TimingSummary found = SummarizeTimings(samples);
  EXPECT_EQ(found.removed, 1u);
  EXPECT_DOUBLE_EQ(found.mean, 3300.0 / 31);
  EXPECT_GT(found.cv, kUnstableCv);
  EXPECT_TRUE(found.unstable());
}

// What the derivation of kUnstableRange says of normal times: a cv of 5 % after trimming goes with a range of 18.7 %.
TEST(Statistics, RangeAndDeviationOfNormalTimesAgree) {
  Rng rng(41);
  std::vector<double> samples(20000);
  for (double& x : samples) x = 100 * (1 + kUnstableCv / 0.88 * rng.Normal());
  const TimingSummary found = SummarizeTimings(samples);
  EXPECT_NEAR(found.cv, kUnstableCv, 0.001);
  EXPECT_NEAR(found.range(), 0.187, 0.005);
  EXPECT_LT(found.range(), kUnstableRange);
}

// One stall among eight samples is trimmed away, and what is left is steady; the stall happened all the same.
TEST(Statistics, StallsThatWereTrimmedAreStillUnstable) {
  std::vector<double> samples = Repeat(7, 7);
  samples.push_back(30);
  const TimingSummary found = SummarizeTimings(samples);
  EXPECT_EQ(found.removed, 1u);
  EXPECT_LT(found.cv, kUnstableCv);
  EXPECT_GT(found.range(), kUnstableRange);
  EXPECT_TRUE(found.unstable());
}

// One sample of a hundred is below the percentiles and beyond 2 sigma: the timing is steady.
TEST(Statistics, OneOutlierOfManyIsNotUnstable) {
  std::vector<double> samples(99);
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i] = 1000 + static_cast<double>(i % 10);
  samples.push_back(9000);
  EXPECT_FALSE(SummarizeTimings(samples).unstable());
}

TEST(Statistics, TimingFiguresOfKnownSamples) {
  std::vector<double> samples(101);
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i] = 1000 + static_cast<double>(i);
  const TimingSummary found = SummarizeTimings(samples);
  EXPECT_EQ(found.removed, 0u);  // uniform: the ends lie 1.7 sigma from the mean
  EXPECT_DOUBLE_EQ(found.mean, 1050);
  EXPECT_DOUBLE_EQ(found.median, 1050);
  EXPECT_DOUBLE_EQ(found.mad, 25);
  EXPECT_DOUBLE_EQ(found.p5, 1005);
  EXPECT_DOUBLE_EQ(found.p95, 1095);
  EXPECT_NEAR(found.cv, std::sqrt(101.0 * 102 / 12) / 1050, 1e-12);
}

TEST(Statistics, OneSampleIsItsOwnSummary) {
  const TimingSummary found = SummarizeTimings(std::array<double, 1>{5});
  EXPECT_DOUBLE_EQ(found.mean, 5);
  EXPECT_DOUBLE_EQ(found.cv, 0);
  EXPECT_EQ(found.removed, 0u);
}

}  // namespace
}  // namespace marlin
