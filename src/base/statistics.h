// The statistics behind every published number: block bootstrap over windows, paired differences, trimmed timings. Pure
// functions: the same input gives the same bits. docs/methodology.md defines the numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace marlin {

inline constexpr std::size_t kBootstrapResamples = 1000;
inline constexpr std::uint64_t kBootstrapSeed = 20240229;

// Below this many windows an interval says little; such results are marked "few".
inline constexpr std::size_t kFewWindows = 30;

struct Interval {
  double low = 0;
  double high = 0;
  bool Contains(double x) const { return low <= x && x <= high; }
};

// Means over windows: sum of `sums` over sum of `counts`, once per resample. Every resample draws as many windows as
// there are, with replacement; the draws depend on the number of windows alone, so that two calls are paired.
// sums and counts have the same length, at least 1; the counts are positive.
std::vector<double> BootstrapMeans(std::span<const double> sums, std::span<const double> counts);

// The share `fraction` (0..1) of the samples lies below the result; linear between neighbours. At least one sample,
// none of them NaN.
double Quantile(std::span<const double> samples, double fraction);

// How many samples fall between edges low x 10^(i / per_decade), i = 0 .. decades x per_decade. counts[0] holds what is
// below the first edge, counts.back() what is not below the last; a bin holds its lower edge.
struct LogHistogram {
  double low = 0;
  std::size_t per_decade = 0;
  std::vector<std::uint64_t> counts;
};
// low > 0; no sample is NaN.
LogHistogram MakeLogHistogram(std::span<const double> samples, double low, std::size_t decades, std::size_t per_decade);

// Sample mean and standard deviation (n - 1); the deviation of one sample is 0. At least one sample.
struct MeanDeviation {
  double mean = 0;
  double deviation = 0;
};
MeanDeviation MeanAndDeviation(std::span<const double> samples);

// A mean per token from sums over windows, with the percentile interval of the bootstrap. For a paired difference, pass
// the differences of the sums.
struct MeanEstimate {
  double mean = 0;
  std::optional<Interval> mean_95;  // one window or NaN has none
  // The interval exists and excludes 0.
  bool distinguished() const { return mean_95.has_value() && !mean_95->Contains(0); }
};
// As BootstrapMeans.
MeanEstimate EstimateMean(std::span<const double> sums, std::span<const double> counts);

// Negative log-likelihood of a text cut into windows: nll[i] is the sum in nats over the tokens[i] scored tokens of
// window i.
struct WindowScores {
  std::span<const double> nll;
  std::span<const double> tokens;
};

struct PerplexityEstimate {
  double mean_nll = 0;  // nats per token
  double perplexity = 0;
  std::optional<double> standard_error;  // of the perplexity; one window has none, NaN has none
};
PerplexityEstimate EstimatePerplexity(WindowScores scores);

// 100 (exp(mean NLL difference) - 1): what `other` costs against `base`, both measured on the same windows.
struct PairedDelta {
  double percent = 0;
  std::optional<Interval> percent_95;  // percentile interval of the bootstrap; one window or NaN has none
  // The interval exists and excludes 0.
  bool distinguished() const { return percent_95.has_value() && !percent_95->Contains(0); }
};
// Both have the same windows and the same tokens in each.
PairedDelta EstimatePairedDelta(WindowScores base, WindowScores other);

// True when the 95 % interval of the paired difference of a and b excludes 0.
bool Distinguished(WindowScores a, WindowScores b);

// A timing is "unstable" above this standard deviation / mean of the samples that trimming left ...
inline constexpr double kUnstableCv = 0.05;
// ... or above this (p95 - p5) / median of all samples. Normal times have p95 - p5 = 3.29 standard deviations, of which
// trimming at 2 sigma leaves 0.88, so that at kUnstableCv the range is 3.29 / 0.88 x 5 % = 18.7 %. Rounded up: the
// range decides only where the times are not normal, where a few stalls were trimmed away but happened.
inline constexpr double kUnstableRange = 0.20;

// Timings of one thing, in the unit of the samples. Samples further than `sigma` standard deviations from the mean are
// removed once; mean and cv describe what is left, the other figures all samples, so that trimming hides nothing.
struct TimingSummary {
  std::size_t samples = 0;
  std::size_t removed = 0;
  double mean = 0;
  double cv = 0;  // standard deviation / mean
  double median = 0;
  double mad = 0;  // median of |sample - median|
  double p5 = 0;
  double p95 = 0;
  double range() const { return (p95 - p5) / median; }
  bool unstable() const { return cv > kUnstableCv || range() > kUnstableRange; }
};
inline constexpr double kTrimSigma = 2.0;

// At least one sample, all positive and finite.
TimingSummary SummarizeTimings(std::span<const double> samples, double sigma = kTrimSigma);

}  // namespace marlin
