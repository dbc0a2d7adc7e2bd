#include "base/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>

#include "base/check.h"
#include "base/rng.h"

namespace marlin {
namespace {

double Sum(std::span<const double> values) { return std::accumulate(values.begin(), values.end(), 0.0); }

double SortedQuantile(std::span<const double> sorted, double fraction) {
  const double position = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

std::vector<double> Sorted(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

// Resamples are summed several at a time: the sums of one resample have to wait for each other.
constexpr std::size_t kTogether = 8;
static_assert(kBootstrapResamples % kTogether == 0);

// The windows that the next kTogether resamples draw: resample r draws draws[i * kTogether + r] as its i-th.
template <typename Index>
std::vector<Index> NextDraws(std::size_t windows, Rng& rng) {
  std::vector<Index> draws(windows * kTogether);
  for (std::size_t r = 0; r < kTogether; ++r) {
    for (std::size_t i = 0; i < windows; ++i) draws[i * kTogether + r] = static_cast<Index>(rng.Below(windows));
  }
  return draws;
}

// Calls use(first resample, draws) for all resamples. The draws of the last number of windows are kept: the rows of a
// report share it.
template <typename Use>
void ForEachDraws(std::size_t windows, const Use& use) {
  constexpr std::size_t kMostKept = 4096;  // 8 MB
  thread_local std::size_t kept_windows = 0;
  thread_local std::vector<std::vector<std::uint16_t>> kept;
  Rng rng(kBootstrapSeed);
  if (windows > kMostKept) {
    for (std::size_t first = 0; first < kBootstrapResamples; first += kTogether) {
      use(first, NextDraws<std::uint32_t>(windows, rng));
    }
    return;
  }
  if (kept_windows != windows) {
    kept.clear();
    while (kept.size() * kTogether < kBootstrapResamples) kept.push_back(NextDraws<std::uint16_t>(windows, rng));
    kept_windows = windows;
  }
  for (std::size_t i = 0; i < kept.size(); ++i) use(i * kTogether, kept[i]);
}

template <typename Index>
std::array<double, kTogether> SumsOf(std::span<const double> values, const std::vector<Index>& draws) {
  std::array<double, kTogether> sums = {};
  for (std::size_t i = 0; i < draws.size(); i += kTogether) {
    for (std::size_t r = 0; r < kTogether; ++r) sums[r] += values[draws[i + r]];
  }
  return sums;
}

// Then the sum of any of them is exact.
bool AreEqualIntegers(std::span<const double> counts) {
  constexpr double kMostExact = 1e9;
  return counts[0] == std::floor(counts[0]) && counts[0] < kMostExact && counts.size() < 1'000'000 &&
         std::ranges::all_of(counts, [&](double count) { return count == counts[0]; });
}

void CheckScores(WindowScores scores) {
  MARLIN_CHECK(!scores.nll.empty(), "at least one window");
  MARLIN_CHECK(scores.nll.size() == scores.tokens.size(), "one token count per window");
}

}  // namespace

std::vector<double> BootstrapMeans(std::span<const double> sums, std::span<const double> counts) {
  MARLIN_CHECK(!sums.empty() && sums.size() == counts.size(), "one count per window, at least one window");
  const bool equal = AreEqualIntegers(counts);
  std::vector<double> means(kBootstrapResamples);
  ForEachDraws(sums.size(), [&](std::size_t first, const auto& draws) {
    const std::array<double, kTogether> sum = SumsOf(sums, draws);
    std::array<double, kTogether> count;
    count.fill(static_cast<double>(sums.size()) * counts[0]);
    if (!equal) count = SumsOf(counts, draws);
    for (std::size_t r = 0; r < kTogether; ++r) means[first + r] = sum[r] / count[r];
  });
  return means;
}

double Quantile(std::span<const double> samples, double fraction) {
  MARLIN_CHECK(!samples.empty(), "at least one sample");
  return SortedQuantile(Sorted(samples), fraction);
}

LogHistogram MakeLogHistogram(std::span<const double> samples, double low, std::size_t decades,
                              std::size_t per_decade) {
  std::vector<double> edges(decades * per_decade + 1);
  for (std::size_t i = 0; i < edges.size(); ++i) {
    edges[i] = low * std::pow(10.0, static_cast<double>(i) / static_cast<double>(per_decade));
  }
  LogHistogram histogram{low, per_decade, std::vector<std::uint64_t>(edges.size() + 1)};
  for (const double x : samples) {
    histogram.counts[static_cast<std::size_t>(std::upper_bound(edges.begin(), edges.end(), x) - edges.begin())] += 1;
  }
  return histogram;
}

MeanDeviation MeanAndDeviation(std::span<const double> samples) {
  MARLIN_CHECK(!samples.empty(), "at least one sample");
  const double mean = Sum(samples) / static_cast<double>(samples.size());
  if (samples.size() == 1) return {mean, 0};
  double squares = 0;
  for (const double x : samples) squares += (x - mean) * (x - mean);
  return {mean, std::sqrt(squares / static_cast<double>(samples.size() - 1))};
}

MeanEstimate EstimateMean(std::span<const double> sums, std::span<const double> counts) {
  MARLIN_CHECK(!sums.empty() && sums.size() == counts.size(), "one count per window, at least one window");
  MeanEstimate estimate;
  estimate.mean = Sum(sums) / Sum(counts);
  if (sums.size() < 2 || !std::isfinite(estimate.mean)) return estimate;
  const std::vector<double> resampled = Sorted(BootstrapMeans(sums, counts));
  estimate.mean_95 = Interval{SortedQuantile(resampled, 0.025), SortedQuantile(resampled, 0.975)};
  return estimate;
}

PerplexityEstimate EstimatePerplexity(WindowScores scores) {
  CheckScores(scores);
  PerplexityEstimate estimate;
  estimate.mean_nll = Sum(scores.nll) / Sum(scores.tokens);
  estimate.perplexity = std::exp(estimate.mean_nll);
  if (scores.nll.size() < 2 || !std::isfinite(estimate.mean_nll)) return estimate;
  std::vector<double> resampled = BootstrapMeans(scores.nll, scores.tokens);
  for (double& x : resampled) x = std::exp(x);
  estimate.standard_error = MeanAndDeviation(resampled).deviation;
  return estimate;
}

PairedDelta EstimatePairedDelta(WindowScores base, WindowScores other) {
  CheckScores(base);
  CheckScores(other);
  MARLIN_CHECK(std::ranges::equal(base.tokens, other.tokens), "paired windows have the same tokens");
  std::vector<double> difference(base.nll.size());
  for (std::size_t i = 0; i < difference.size(); ++i) difference[i] = other.nll[i] - base.nll[i];

  const auto percent = [](double mean_difference) { return 100.0 * std::expm1(mean_difference); };
  const MeanEstimate estimate = EstimateMean(difference, base.tokens);
  PairedDelta delta;
  delta.percent = percent(estimate.mean);
  if (!estimate.mean_95 || !std::isfinite(delta.percent)) return delta;
  delta.percent_95 = Interval{percent(estimate.mean_95->low), percent(estimate.mean_95->high)};
  return delta;
}

bool Distinguished(WindowScores a, WindowScores b) { return EstimatePairedDelta(a, b).distinguished(); }

TimingSummary SummarizeTimings(std::span<const double> samples, double sigma) {
  const std::vector<double> sorted = Sorted(samples);
  const MeanDeviation all = MeanAndDeviation(sorted);
  std::vector<double> kept;
  for (const double x : sorted) {
    if (std::abs(x - all.mean) <= sigma * all.deviation) kept.push_back(x);
  }
  if (kept.empty()) kept = sorted;  // sigma so small that nothing is near the mean: two samples, far apart
  const MeanDeviation trimmed = MeanAndDeviation(kept);

  TimingSummary summary;
  summary.samples = sorted.size();
  summary.removed = sorted.size() - kept.size();
  summary.mean = trimmed.mean;
  summary.cv = trimmed.deviation / trimmed.mean;
  summary.median = SortedQuantile(sorted, 0.5);
  std::vector<double> distance(sorted);
  for (double& x : distance) x = std::abs(x - summary.median);
  summary.mad = Quantile(distance, 0.5);
  summary.p5 = SortedQuantile(sorted, 0.05);
  summary.p95 = SortedQuantile(sorted, 0.95);
  return summary;
}

}  // namespace marlin
