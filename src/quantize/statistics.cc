#include "quantize/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "kernels/product.h"

namespace marlin {
namespace {

void AddSums(InputStatistics& sums, MatrixView<const float> x, ThreadPool& pool) {
  pool.Split(x.cols, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t t = 0; t < x.rows; ++t) {
      const float* row = x.Row(t).data();
      for (std::size_t i = begin; i < end; ++i) {
        const double value = row[i];
        sums.sum_squares[i] += value * value;
        sums.sum_abs[i] += std::abs(value);
        sums.max_abs[i] = std::max(sums.max_abs[i], std::abs(row[i]));
      }
    }
  });
}

Error NotFinite(MatrixView<const float> x, std::size_t channel) {
  std::size_t token = 0;
  while (token + 1 < x.rows && std::isfinite(x.Row(token)[channel])) ++token;
  return {
      ErrorCode::kNumerical,
      fmt::format("the input of a linear layer is {} at token {}, channel {}; want finite numbers: check the model's "
                  "weights with inspect",
                  x.Row(token)[channel], token, channel)};
}

InputStatistics Zeros(std::size_t channels) {
  InputStatistics stats;
  stats.sum_squares.resize(channels);
  stats.sum_abs.resize(channels);
  stats.max_abs.resize(channels);
  return stats;
}

// What `from` is to be added to; kept Grams must match.
Status Prepare(InputStatistics& into, std::size_t channels, bool keep_gram) {
  if (into.channels() == 0) {
    into = Zeros(channels);
    if (keep_gram) into.gram.resize(channels * channels);
    return {};
  }
  if (into.channels() != channels) {
    return Error{ErrorCode::kInput, fmt::format("statistics of {} channels cannot take {} channels: they belong to "
                                                "another layer",
                                                into.channels(), channels)};
  }
  if (into.gram.empty() == keep_gram) {
    return Error{ErrorCode::kUsage,
                 fmt::format("statistics {} X^T X cannot take statistics {} it; collect both the same "
                             "way",
                             keep_gram ? "without" : "with", keep_gram ? "with" : "without")};
  }
  return {};
}

void AddMoments(InputStatistics& into, const InputStatistics& from) {
  for (std::size_t i = 0; i < from.channels(); ++i) {
    into.sum_squares[i] += from.sum_squares[i];
    into.sum_abs[i] += from.sum_abs[i];
    into.max_abs[i] = std::max(into.max_abs[i], from.max_abs[i]);
  }
  into.tokens += from.tokens;
}

}  // namespace

Status Accumulate(InputStatistics& stats, MatrixView<const float> x, ThreadPool& pool, bool keep_gram) {
  InputStatistics seen = Zeros(x.cols);
  seen.tokens = x.rows;
  AddSums(seen, x, pool);
  for (std::size_t i = 0; i < x.cols; ++i) {
    if (!std::isfinite(seen.sum_squares[i])) return NotFinite(x, i);
  }
  if (auto status = Prepare(stats, x.cols, keep_gram); !status) return status;
  AddMoments(stats, seen);
  if (keep_gram) {
    Multiply<float>({x, x, {stats.gram.data(), x.cols, x.cols}, 1, true}, HostIsa(), pool);
  }
  return {};
}

Status Merge(InputStatistics& into, const InputStatistics& from) {
  if (from.channels() == 0) return {};
  if (auto status = Prepare(into, from.channels(), !from.gram.empty()); !status) return status;
  AddMoments(into, from);
  for (std::size_t i = 0; i < from.gram.size(); ++i) into.gram[i] += from.gram[i];
  return {};
}

Status CheckStatistics(const InputStatistics& stats, std::size_t channels) {
  const std::size_t k = stats.channels();
  if (k != channels || stats.sum_abs.size() != k || stats.max_abs.size() != k ||
      (!stats.gram.empty() && stats.gram.size() != k * k)) {
    return Error{ErrorCode::kInput, fmt::format("statistics of {} channels do not belong to a weight of {} columns; "
                                                "calibrate this model again",
                                                k, channels)};
  }
  const auto bad = [](double sum) { return !std::isfinite(sum) || sum < 0; };
  for (std::size_t i = 0; i < k; ++i) {
    const std::span<const float> row =
        stats.gram.empty() ? std::span<const float>() : std::span(stats.gram).subspan(i * k, k);
    const bool sums = !bad(stats.sum_squares[i]) && !bad(stats.sum_abs[i]) && !bad(stats.max_abs[i]);
    const bool products = std::all_of(row.begin(), row.end(), [](float x) { return std::isfinite(x); });
    if (sums && products && (row.empty() || row[i] >= 0)) continue;
    return Error{ErrorCode::kNumerical,
                 fmt::format("statistics of channel {} are {} (sum of x^2), {} (sum of |x|), {} (largest |x|), or its "
                             "products with other channels are not finite; want finite numbers, none negative; "
                             "calibrate this model again",
                             i, stats.sum_squares[i], stats.sum_abs[i], stats.max_abs[i])};
  }
  return {};
}

std::vector<std::size_t> SilentChannels(const InputStatistics& stats) {
  std::vector<std::size_t> silent;
  for (std::size_t i = 0; i < stats.channels(); ++i) {
    if (stats.sum_squares[i] == 0) silent.push_back(i);
  }
  return silent;
}

std::vector<float> Importance(const InputStatistics& stats) {
  double sum = 0;
  std::size_t used = 0;
  for (const double squares : stats.sum_squares) {
    sum += squares;
    used += squares > 0 ? 1 : 0;
  }
  if (used == 0 || stats.tokens == 0) return std::vector<float>(stats.channels(), 1.0f);
  const double floor = kDamping * sum / static_cast<double>(used);
  std::vector<float> importance(stats.channels());
  for (std::size_t i = 0; i < importance.size(); ++i) {
    importance[i] = static_cast<float>((stats.sum_squares[i] + floor) / static_cast<double>(stats.tokens));
  }
  return importance;
}

}  // namespace marlin
