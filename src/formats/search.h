// The search for the scale, the zero point and the bias of a group so that the weighted error sum_j importance[j]
// (w[j] - decode(round(w[j])))^2 is small. The same code runs on hosts and in kernels of a GPU, with the same bits.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#include "formats/refit.h"

namespace marlin {

// Terms of a sum that are computed before they are added. Compilers vectorize them on a host; a thread of a GPU would
// only move them to memory and back. The order of the sum is the same.
#ifdef __CUDA_ARCH__
inline constexpr std::size_t kTermsTogether = 1;
#else
inline constexpr std::size_t kTermsTogether = 32;
#endif

// Codes and scale settle after two or three rounds; more than this is a cycle of roundings.
inline constexpr int kMostRefits = 8;

// sum of importance[j] (w[j] - Decode(Round(w[j])))^2; or part of it that is at least `limit`.
template <Format F>
constexpr double ErrorOf(std::span<const float> weights, std::span<const float> importance, const GroupParams& params,
                         double limit) noexcept {
  const GroupParams own = params;
  double sum = 0;
  double terms[kTermsTogether];
  for (std::size_t begin = 0; begin < weights.size() && sum < limit; begin += kTermsTogether) {
    const std::size_t count = std::min(std::size_t{kTermsTogether}, weights.size() - begin);
    for (std::size_t i = 0; i < count; ++i) {
      const double error = weights[begin + i] - NearestOf<F>(weights[begin + i], own);
      terms[i] = static_cast<double>(importance[begin + i]) * (error * error);
    }
    for (std::size_t i = 0; i < count; ++i) sum += terms[i];
  }
  return sum;
}

// The best scale and bias for the codes of weights that are rounded with `params`.
template <Format F>
constexpr GroupParams RefitToCodes(std::span<const float> weights, std::span<const float> importance,
                                   const GroupParams& params) noexcept {
  const GroupParams own = params;
  RefitSums sums;
  float values[kTermsTogether];
  for (std::size_t begin = 0; begin < weights.size(); begin += kTermsTogether) {
    const std::size_t count = std::min(std::size_t{kTermsTogether}, weights.size() - begin);
    for (std::size_t i = 0; i < count; ++i) values[i] = NearestValueOf<F>(weights[begin + i], own);
    for (std::size_t i = 0; i < count; ++i) {
      const double value = values[i], counts = importance[begin + i];
      const double along = counts * (weights[begin + i] - value * own.scale - own.bias);
      sums.scale_slope += value * along;
      sums.bias_slope += along;
      sums.scale_curvature += value * value * counts;
      sums.bias_curvature += counts;
      sums.mixed_curvature += value * counts;
    }
  }
  return Refit<F>(sums, own);
}

// Params of one group and their error.
struct SearchedParams {
  GroupParams params;
  double error = 0;
};

// Scale and bias refitted in closed form to the codes (weighted least squares) and the codes to them, as long as that
// helps. The zero point may move by one.
template <Format F>
constexpr GroupParams ImproveFrom(std::span<const float> weights, std::span<const float> importance,
                                  SearchedParams best) noexcept {
  const auto refit = [&](const GroupParams& from) {
    const GroupParams params = RefitToCodes<F>(weights, importance, from);
    const double error = ErrorOf<F>(weights, importance, params, best.error);
    if (!(error < best.error)) return false;
    best = {params, error};
    return true;
  };
  for (int i = 0; i < kMostRefits; ++i) {
    bool better = refit(best.params);
    const GroupParams from = best.params;
    for (int step = -1; F::kInfo.zero_point_bits > 0 && step <= 1; step += 2) {
      if (from.zero_point + step < 0 || from.zero_point + step > 15) continue;
      GroupParams moved = from;
      moved.zero_point = static_cast<std::uint8_t>(from.zero_point + step);
      better |= refit(moved);
    }
    if (!better) break;
  }
  return best.params;
}

// As ImproveFrom, from given params on, whose units stay.
template <Format F>
constexpr GroupParams ImproveParams(std::span<const float> weights, std::span<const float> importance,
                                    const GroupParams& params) noexcept {
  return ImproveFrom<F>(weights, importance, {params, ErrorOf<F>(weights, importance, params, kNoLimit)});
}

// The best proposal of the format, improved. Never a larger error than the format's Fit. Units are not chosen.
template <Format F>
constexpr GroupParams SearchParams(std::span<const float> weights, std::span<const float> importance) noexcept {
  if (F::kInfo.group == 0 || weights.empty()) return {};
  std::array<GroupParams, kMaxProposals> proposals;
  const std::size_t count = F::Propose(weights, proposals);
  SearchedParams best{proposals[0], ErrorOf<F>(weights, importance, proposals[0], kNoLimit)};
  for (std::size_t i = 1; i < count; ++i) {
    const double error = ErrorOf<F>(weights, importance, proposals[i], best.error);
    if (error < best.error) best = {proposals[i], error};
  }
  return ImproveFrom<F>(weights, importance, best);
}

}  // namespace marlin
