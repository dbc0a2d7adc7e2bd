#include "quantize/mse.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/half.h"

namespace marlin {
namespace {

// Codes and scale settle after two or three rounds; more than this is a cycle of roundings.
constexpr int kMostRefits = 8;
constexpr std::size_t kLongestGroup = 256;

// The stored scale that fits codes rounded with `params` best; 0 when they are all zeros.
std::uint16_t RefitScale(const FormatRow& format, std::span<const float> weights, std::span<const float> importance,
                         GroupParams params) {
  std::array<std::uint32_t, kLongestGroup> code_memory;
  std::array<float, kLongestGroup> value_memory;
  const std::span codes(code_memory.data(), weights.size());
  const std::span values(value_memory.data(), weights.size());
  format.round(weights, params, codes);
  format.decode(codes, {kHalfOne, params.zero_point}, values);
  double along = 0;
  double square = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double value = static_cast<double>(values[i]) * importance[i];
    along += value * weights[i];
    square += value * values[i];
  }
  return square > 0 ? format.round_scale(static_cast<float>(along / square)) : std::uint16_t{0};
}

// job(row) for every row. Zero points of eight neighbouring rows share a word of an encoded matrix.
template <class Job>
void ForRows(std::size_t rows, ThreadPool& pool, Job job) {
  pool.Split((rows + 7) / 8, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t r = begin * 8; r < std::min(end * 8, rows); ++r) job(r);
  });
}

}  // namespace

GroupParams SearchParams(const FormatRow& format, std::span<const float> weights, std::span<const float> importance) {
  MARLIN_CHECK(importance.size() == weights.size(), "one importance per weight");
  if (format.info.group == 0 || weights.empty()) return {};
  MARLIN_CHECK(weights.size() <= kLongestGroup, "length of a group");
  std::array<GroupParams, kMaxProposals> proposals;
  const std::size_t count = format.propose(weights, proposals);
  GroupParams best = proposals[0];
  double least = format.error(weights, importance, best);
  const auto take_if_better = [&](GroupParams params) {
    const double error = format.error(weights, importance, params);
    if (!(error < least)) return false;
    best = params;
    least = error;
    return true;
  };
  for (std::size_t i = 1; i < count; ++i) take_if_better(proposals[i]);
  const auto refit = [&](GroupParams params) {
    const std::uint16_t scale = RefitScale(format, weights, importance, params);
    return scale != 0 && take_if_better({scale, params.zero_point});
  };
  for (int i = 0; i < kMostRefits; ++i) {
    bool better = refit(best);
    if (format.info.zero_point_bits > 0) {
      const GroupParams from = best;
      if (from.zero_point > 0) better |= refit({from.scale, static_cast<std::uint8_t>(from.zero_point - 1)});
      if (from.zero_point < 15) better |= refit({from.scale, static_cast<std::uint8_t>(from.zero_point + 1)});
    }
    if (!better) break;
  }
  return best;
}

std::vector<GroupParams> SearchAllParams(const FormatRow& format, MatrixView<const float> weights,
                                         std::span<const float> importance, ThreadPool& pool) {
  MARLIN_CHECK(importance.empty() || importance.size() == weights.cols, "one importance per column");
  const std::size_t groups = GroupsPerRow(format.info, weights.cols);
  const std::vector<float> equal(importance.empty() ? weights.cols : 0, 1.0f);
  if (importance.empty()) importance = equal;
  std::vector<GroupParams> params(weights.rows * groups);
  ForRows(weights.rows, pool, [&](std::size_t r) {
    for (std::size_t g = 0; g < groups; ++g) {
      const std::size_t begin = g * static_cast<std::size_t>(format.info.group);
      const std::size_t size = std::min(static_cast<std::size_t>(format.info.group), weights.cols - begin);
      params[r * groups + g] =
          SearchParams(format, weights.Row(r).subspan(begin, size), importance.subspan(begin, size));
    }
  });
  return params;
}

EncodedMatrix EncodeMse(const FormatRow& format, MatrixView<const float> weights, std::span<const float> importance,
                        ThreadPool& pool) {
  if (format.info.group == 0) return Encode(format, weights, pool);
  const std::vector<GroupParams> params = SearchAllParams(format, weights, importance, pool);
  EncodedMatrix matrix(format, weights.rows, weights.cols);
  const std::size_t groups = matrix.view().groups();
  ForRows(weights.rows, pool, [&](std::size_t r) {
    std::vector<std::uint32_t> codes(weights.cols);
    for (std::size_t g = 0; g < groups; ++g) {
      const std::size_t begin = g * static_cast<std::size_t>(format.info.group);
      const std::size_t size = std::min(static_cast<std::size_t>(format.info.group), weights.cols - begin);
      const GroupParams own = params[r * groups + g];
      SetParams(matrix, r, g, own);
      format.round(weights.Row(r).subspan(begin, size), own, std::span(codes).subspan(begin, size));
    }
    SetCodes(matrix, r, 0, codes);
  });
  return matrix;
}

}  // namespace marlin
