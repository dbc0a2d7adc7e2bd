#include "quantize/mse.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "quantize/refit.h"

namespace marlin {
namespace {

// Codes and scale settle after two or three rounds; more than this is a cycle of roundings.
constexpr int kMostRefits = 8;
constexpr std::size_t kLongestGroup = 256;

// The scale and the bias that fit codes rounded with `params` best.
GroupParams RefitToCodes(const FormatRow& format, std::span<const float> weights, std::span<const float> importance,
                         const GroupParams& params) {
  std::array<std::uint32_t, kLongestGroup> code_memory;
  std::array<float, kLongestGroup> value_memory;
  const std::span codes(code_memory.data(), weights.size());
  const std::span values(value_memory.data(), weights.size());
  format.round(weights, params, codes);
  format.decode(codes, {.scale = 1, .zero_point = params.zero_point}, values);
  RefitSums sums;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double value = values[i];
    const double along = importance[i] * (weights[i] - value * params.scale - params.bias);
    sums.scale_slope += value * along;
    sums.bias_slope += along;
    sums.scale_curvature += value * value * importance[i];
    sums.bias_curvature += importance[i];
    sums.mixed_curvature += value * importance[i];
  }
  return Refit(format, sums, params);
}

// Params of one group and their error.
struct Candidate {
  GroupParams params;
  double error = 0;
};

// The scale and the bias refitted to the codes and the codes to them, as long as that helps.
Candidate Improve(const FormatRow& format, std::span<const float> weights, std::span<const float> importance,
                  Candidate best) {
  const auto take_if_better = [&](const GroupParams& params) {
    const double error = format.error(weights, importance, params, best.error);
    if (!(error < best.error)) return false;
    best = {params, error};
    return true;
  };
  const auto refit = [&](const GroupParams& params) {
    return take_if_better(RefitToCodes(format, weights, importance, params));
  };
  for (int i = 0; i < kMostRefits; ++i) {
    bool better = refit(best.params);
    if (format.info.zero_point_bits > 0) {
      const GroupParams from = best.params;
      for (const int step : {-1, 1}) {
        if (from.zero_point + step < 0 || from.zero_point + step > 15) continue;
        GroupParams moved = from;
        moved.zero_point = static_cast<std::uint8_t>(from.zero_point + step);
        better |= refit(moved);
      }
    }
    if (!better) break;
  }
  return best;
}

}  // namespace

GroupParams SearchParams(const FormatRow& format, std::span<const float> weights, std::span<const float> importance) {
  MARLIN_CHECK(importance.size() == weights.size(), "one importance per weight");
  if (format.info.group == 0 || weights.empty()) return {};
  MARLIN_CHECK(weights.size() <= kLongestGroup, "length of a group");
  std::array<GroupParams, kMaxProposals> proposals;
  const std::size_t count = format.propose(weights, proposals);
  Candidate best{proposals[0], format.error(weights, importance, proposals[0], kNoLimit)};
  for (std::size_t i = 1; i < count; ++i) {
    const double error = format.error(weights, importance, proposals[i], best.error);
    if (error < best.error) best = {proposals[i], error};
  }
  return Improve(format, weights, importance, best).params;
}

GroupParams ImproveParams(const FormatRow& format, std::span<const float> weights, std::span<const float> importance,
                          const GroupParams& params) {
  return Improve(format, weights, importance, {params, format.error(weights, importance, params, kNoLimit)}).params;
}

std::vector<GroupParams> SearchAllParams(const FormatRow& format, MatrixView<const float> weights,
                                         std::span<const float> importance, ThreadPool& pool) {
  MARLIN_CHECK(importance.empty() || importance.size() == weights.cols, "one importance per column");
  const std::size_t groups = GroupsPerRow(format.info, weights.cols);
  const std::vector<float> equal(importance.empty() ? weights.cols : 0, 1.0f);
  if (importance.empty()) importance = equal;
  std::vector<GroupParams> params(weights.rows * groups);
  const auto for_groups = [&](auto job) {
    pool.Split(params.size(), [&](std::size_t begin, std::size_t end, int) {
      for (std::size_t i = begin; i < end; ++i) {
        const std::size_t first = i % groups * static_cast<std::size_t>(format.info.group);
        const std::size_t size = std::min(static_cast<std::size_t>(format.info.group), weights.cols - first);
        params[i] = job(weights.Row(i / groups).subspan(first, size), importance.subspan(first, size), params[i]);
      }
    });
  };
  for_groups([&](auto part, auto counts, const GroupParams&) { return SearchParams(format, part, counts); });
  if (format.info.unit_scope == UnitScope::kNone) return params;
  Settle(format, weights.cols, params);
  for_groups([&](auto part, auto counts, const GroupParams& own) { return ImproveParams(format, part, counts, own); });
  return params;
}

EncodedMatrix EncodeMse(const FormatRow& format, MatrixView<const float> weights, std::span<const float> importance,
                        ThreadPool& pool) {
  if (format.info.group == 0) return Encode(format, weights, pool);
  return EncodeWith(format, weights, SearchAllParams(format, weights, importance, pool), pool);
}

}  // namespace marlin
