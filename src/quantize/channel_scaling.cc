#include "quantize/channel_scaling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "quantize/mse.h"

namespace marlin {
namespace {

constexpr int kExponentSteps = 20;
// Rows of every weight that the exponents are judged on: 64 rows x 576 columns give the error to about 1 %.
constexpr std::size_t kSampledRows = 64;

// Mean |x|^exponent, scaled so that the least and the largest factor are as far from 1; silent channels count as hardly
// used ones.
std::vector<float> Factors(const InputStatistics& stats, double exponent) {
  const double sum = std::accumulate(stats.sum_abs.begin(), stats.sum_abs.end(), 0.0);
  if (sum == 0 || exponent == 0) return std::vector<float>(stats.channels(), 1.0f);
  const double least = kDamping * sum / static_cast<double>(stats.channels());
  std::vector<double> logs(stats.channels());
  for (std::size_t j = 0; j < logs.size(); ++j) logs[j] = exponent * std::log2(std::max(stats.sum_abs[j], least));
  const auto [low, high] = std::ranges::minmax(logs);
  std::vector<float> factors(logs.size());
  for (std::size_t j = 0; j < logs.size(); ++j) factors[j] = static_cast<float>(std::exp2(logs[j] - (low + high) / 2));
  return factors;
}

// Of every `step`-th row of one weight, [k] importance.
double ErrorOfRows(MatrixView<const float> weights, std::size_t step, std::span<const float> importance,
                   std::span<const float> factors, const FormatRow& format, ThreadPool& pool) {
  const std::size_t k = weights.cols;
  std::vector<float> divided(k);  // importance of an error in a scaled column
  for (std::size_t j = 0; j < k; ++j) divided[j] = importance[j] / (factors[j] * factors[j]);
  const auto group = static_cast<std::size_t>(format.info.group);
  std::vector<double> errors((weights.rows + step - 1) / step);
  pool.Split(errors.size(), [&](std::size_t begin, std::size_t end, int) {
    std::vector<float> row(k);
    for (std::size_t i = begin; i < end; ++i) {
      const std::span<const float> from = weights.Row(i * step);
      for (std::size_t j = 0; j < k; ++j) row[j] = from[j] * factors[j];
      for (std::size_t first = 0; first < k; first += group) {
        const std::size_t size = std::min(group, k - first);
        const std::span<const float> part = std::span(row).subspan(first, size);
        const std::span<const float> counts = std::span(divided).subspan(first, size);
        errors[i] += format.error(part, counts, format.search(part, counts), kNoLimit);
      }
    }
  });
  return std::accumulate(errors.begin(), errors.end(), 0.0);
}

double ErrorOfAll(std::span<const WeightToScale> weights, bool sampled, std::span<const float> importance,
                  std::span<const float> factors, ThreadPool& pool) {
  double sum = 0;
  for (const WeightToScale& weight : weights) {
    const std::size_t step = sampled ? std::max<std::size_t>(1, weight.values.rows / kSampledRows) : 1;
    // A sampled row represents `step` rows.
    sum += static_cast<double>(step) * ErrorOfRows(weight.values, step, importance, factors, *weight.format, pool);
  }
  return sum;
}

}  // namespace

Result<ChannelScaling> SearchChannelScaling(std::span<const WeightToScale> weights, const InputStatistics& stats,
                                            ThreadPool& pool) {
  for (const WeightToScale& weight : weights) {
    if (weight.format->info.group == 0) {
      return Error{ErrorCode::kUsage,
                   fmt::format("{} has no groups, so scaling its channels gains nothing", weight.format->info.name)};
    }
    if (auto status = CheckStatistics(stats, weight.values.cols); !status) return status.error();
  }
  const std::vector<float> importance = Importance(stats);
  ChannelScaling best;
  double least = 0;
  for (int step = 0; step <= kExponentSteps; ++step) {
    const double exponent = static_cast<double>(step) / kExponentSteps;
    std::vector<float> factors = Factors(stats, exponent);
    const double error = ErrorOfAll(weights, true, importance, factors, pool);
    if (step > 0 && !(error < least)) continue;
    least = error;
    best.exponent = exponent;
    best.factors = std::move(factors);
  }
  const std::vector<float> ones = Factors(stats, 0);
  best.plain_error = best.scaled_error = ErrorOfAll(weights, false, importance, ones, pool);
  if (best.exponent == 0) return best;
  best.scaled_error = ErrorOfAll(weights, false, importance, best.factors, pool);
  if (best.scaled_error < best.plain_error) return best;
  return ChannelScaling{ones, 0, best.plain_error, best.plain_error};
}

}  // namespace marlin
