#include "quantize/row_descent.h"

#include <algorithm>
#include <numeric>

#include "formats/refit.h"
#include "kernels/product.h"
#include "quantize/row_pieces.h"

namespace marlin {
namespace {

// Columns of a block where the format has no groups.
constexpr std::size_t kPlainBlock = 128;
// Columns whose moves reach the rest of a group in one pass over it: a row of it and their moves stay in an L1 cache.
constexpr std::size_t kMovedTogether = 8;

}  // namespace

RowDescent::RowDescent(MatrixView<const float> weights, EncodedMatrix& matrix)
    : weights_(weights), matrix_(matrix), format_(*matrix.format), isa_(HostIsa()) {}

std::size_t RowDescent::GroupColumns(const FormatInfo& info) {
  return info.group == 0 ? kPlainBlock : static_cast<std::size_t>(info.group);
}

void RowDescent::Start(std::size_t begin, std::size_t end, MatrixView<float> errors) {
  begin_ = begin;
  errors_ = errors;
  const std::size_t k = weights_.cols, rows = end - begin;
  codes_.resize(k * rows);
  turned_.resize(k * rows);
  const auto view = matrix_.view();
  params_.assign(rows * std::max<std::size_t>(view.groups(), 1), {});
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t g = 0; g < view.groups(); ++g) Params(r, g) = GetParams(view, begin + r, g);
  }
  std::vector<std::uint32_t> codes(kTurnedTogether * k);
  std::vector<float> values(kTurnedTogether * k);
  ForTurnedRows(rows, [&](std::size_t first, std::size_t last) {
    for (std::size_t r = first; r < last; ++r) {
      GetCodes(view, begin + r, 0, {codes.data() + (r - first) * k, k});
      DecodeRow(view, begin + r, {values.data() + (r - first) * k, k});
    }
    for (std::size_t j = 0; j < k; ++j) {
      const float* const column = weights_.data + begin * weights_.stride + j;
      for (std::size_t r = first; r < last; ++r) {
        const float weight = column[r * weights_.stride];
        turned_[j * rows + r] = weight;
        codes_[j * rows + r] = codes[(r - first) * k + j];
        errors_.Row(j)[r] = weight - values[(r - first) * k + j];
      }
    }
  });
  const std::size_t widest = GroupColumns(format_.info);
  for (auto* vector : {&curved_, &unit_, &before_}) vector->resize(widest * rows);
  for (auto* vector : {&values_, &targets_, &next_}) vector->resize(rows);
  moves_.resize(kMovedTogether * rows);
  column_codes_.resize(rows);
  group_params_.resize(rows);
  trial_.resize(widest * rows);
}

void RowDescent::Store() {
  const std::size_t k = weights_.cols;
  const std::size_t groups = matrix_.view().groups();
  std::vector<std::uint32_t> codes(kTurnedTogether * k);
  ForTurnedRows(rows(), [&](std::size_t first, std::size_t last) {
    for (std::size_t j = 0; j < k; ++j) {
      for (std::size_t r = first; r < last; ++r) codes[(r - first) * k + j] = codes_[j * rows() + r];
    }
    for (std::size_t r = first; r < last; ++r) {
      for (std::size_t g = 0; g < groups; ++g) SetParams(matrix_, begin_ + r, g, Params(r, g));
      SetCodes(matrix_, begin_ + r, 0, {codes.data() + (r - first) * k, k});
    }
  });
}

GroupParams& RowDescent::Params(std::size_t r, std::size_t group) {
  return params_[r * std::max<std::size_t>(matrix_.view().groups(), 1) + group];
}

bool RowDescent::Improve(std::size_t low, MatrixView<const float> square, MatrixView<float> gradient) {
  changed_ = false;
  const std::size_t width = square.rows, columns = GroupColumns(format_.info), n = rows();
  for (std::size_t first = 0; first < width; first += columns) {
    const std::size_t own = std::min(columns, width - first), rest = width - first - own;
    const float* const corner = square.Row(first).data() + first;
    const MatrixView<float> errors = errors_.Rows(low + first, own);
    for (std::size_t i = 0; rest > 0 && i < own; ++i) std::ranges::copy(errors.Row(i), before_.data() + i * n);
    const std::size_t index = format_.info.group == 0 ? 0 : (low + first) / columns;
    ImproveGroup({index, low + first, own, {corner, own, own, square.stride}, gradient.Rows(first, own)});
    if (rest == 0) break;
    for (std::size_t i = 0; i < own; ++i) {
      for (std::size_t r = 0; r < n; ++r) before_[i * n + r] = errors.Row(i)[r] - before_[i * n + r];
    }
    Multiply<float>(
        {{corner + own, own, rest, square.stride}, {before_.data(), own, n}, gradient.Rows(first + own, rest)}, isa_);
  }
  return changed_;
}

void RowDescent::ImproveGroup(const Group& group) {
  if (format_.info.group != 0) RefitParams(group);
  if (format_.info.scale_type == ScaleType::kE8m0) {
    for (const float factor : {2.0f, 0.5f}) MoveScales(factor, group);
  }
  for (std::size_t r = 0; r < rows(); ++r) group_params_[r] = Params(r, group.index);
  RoundColumns(group);
}

// curved = H unit, within the group.
void RowDescent::Curve(const Group& group) {
  std::fill_n(curved_.begin(), group.width * rows(), 0.0f);
  Multiply<float>({group.square, {unit_.data(), group.width, rows()}, {curved_.data(), group.width, rows()}}, isa_);
}

// [width] H 1, within the group.
std::vector<double> RowDescent::CurvedOnes(const Group& group) const {
  std::vector<double> sums(group.width);
  for (std::size_t i = 0; i < group.width; ++i) {
    const auto row = group.square.Row(i);
    sums[i] = std::accumulate(row.begin(), row.end(), 0.0);
  }
  return sums;
}

// The scale and the bias of every row's group for which the error is least while the codes stay.
void RowDescent::RefitParams(const Group& group) {
  const std::size_t width = group.width, n = rows();
  std::vector<float> values(width);
  std::vector<std::uint32_t> codes(width);
  for (std::size_t r = 0; r < n; ++r) {
    const GroupParams unit{.scale = 1, .zero_point = Params(r, group.index).zero_point};
    for (std::size_t i = 0; i < width; ++i) codes[i] = codes_[(group.low + i) * n + r];
    format_.decode(codes, unit, values);
    for (std::size_t i = 0; i < width; ++i) unit_[i * n + r] = values[i];
  }
  Curve(group);
  const bool has_bias = HasBias(format_.info);
  const std::vector<double> ones = has_bias ? CurvedOnes(group) : std::vector<double>(width);
  std::vector<RefitSums> sums(n);
  for (std::size_t i = 0; i < width; ++i) {
    const float* const gradients = group.gradient.Row(i).data();
    for (std::size_t r = 0; r < n; ++r) {
      const double value = unit_[i * n + r];
      const double gradient = gradients[r];
      sums[r].scale_slope += value * gradient;
      sums[r].scale_curvature += value * curved_[i * n + r];
      sums[r].bias_slope += gradient;
      sums[r].bias_curvature += ones[i];
      sums[r].mixed_curvature += value * ones[i];
    }
  }
  std::vector<float> scale_changes(n), bias_changes(n);
  bool any = false;
  for (std::size_t r = 0; r < n; ++r) {
    GroupParams& params = Params(r, group.index);
    const GroupParams refitted = format_.refit(sums[r], params);
    if (refitted == params) continue;
    scale_changes[r] = refitted.scale - params.scale;
    bias_changes[r] = refitted.bias - params.bias;
    params = refitted;
    any = true;
  }
  if (!any) return;
  changed_ = true;
  for (std::size_t i = 0; i < width; ++i) {
    float* const errors = errors_.Row(group.low + i).data();
    float* const gradients = group.gradient.Row(i).data();
    const auto one = static_cast<float>(ones[i]);
    for (std::size_t r = 0; r < n; ++r) {
      errors[r] -= scale_changes[r] * unit_[i * n + r] + bias_changes[r];
      gradients[r] -= scale_changes[r] * curved_[i * n + r] + bias_changes[r] * one;
    }
  }
}

// Scales that are far from each other seldom get better while the codes stay. Each row's group gets codes for the scale
// times `factor`, every column rounded to where its own error would be least, and keeps them if the error falls.
void RowDescent::MoveScales(float factor, const Group& group) {
  const std::size_t width = group.width, n = rows();
  for (std::size_t r = 0; r < n; ++r) {
    const GroupParams params = Moved(Params(r, group.index), factor);
    for (std::size_t i = 0; i < width; ++i) {
      const std::size_t j = group.low + i;
      const float value = turned_[j * n + r] - errors_.Row(j)[r];
      const float target = value + group.gradient.Row(i)[r] / group.square.Row(i)[i];
      float next = 0;
      format_.round({&target, 1}, params, {&trial_[i * n + r], 1});
      format_.decode({&trial_[i * n + r], 1}, params, {&next, 1});
      unit_[i * n + r] = next - value;
    }
  }
  Curve(group);
  for (std::size_t r = 0; r < n; ++r) {
    double change = 0;
    for (std::size_t i = 0; i < width; ++i) {
      change += static_cast<double>(unit_[i * n + r]) * (curved_[i * n + r] - 2.0 * group.gradient.Row(i)[r]);
    }
    if (!(change < 0)) continue;
    Params(r, group.index) = Moved(Params(r, group.index), factor);
    changed_ = true;
    for (std::size_t i = 0; i < width; ++i) {
      codes_[(group.low + i) * n + r] = trial_[i * n + r];
      errors_.Row(group.low + i)[r] -= unit_[i * n + r];
      group.gradient.Row(i)[r] -= curved_[i * n + r];
    }
  }
}

// At the ends of the range the scale stays.
GroupParams RowDescent::Moved(GroupParams params, float factor) const {
  const float scale = format_.round_scale(factor * params.scale, params);
  if (scale != 0) params.scale = scale;
  return params;
}

// With group_params_. A move changes the gradient of the columns that follow.
void RowDescent::RoundColumns(const Group& group) {
  const std::size_t n = rows();
  // gradient[i] -= H[i][j] moves[j], i in [begin, end), j from first to last.
  const auto follow = [&](std::size_t first, std::size_t last, std::size_t begin, std::size_t end, std::size_t base) {
    for (std::size_t i = begin; i < end; ++i) {
      float* const gradient = group.gradient.Row(i).data();
      for (std::size_t j = first; j < last; ++j) {
        const float curvature = group.square.Row(j)[i];
        const float* const moves = moves_.data() + (j - base) * n;
        for (std::size_t r = 0; r < n; ++r) gradient[r] -= curvature * moves[r];
      }
    }
  };
  for (std::size_t first = 0; first < group.width; first += kMovedTogether) {
    const std::size_t last = std::min(first + kMovedTogether, group.width);
    bool any = false;
    for (std::size_t j = first; j < last; ++j) {
      const bool moved = RoundColumn(group, j, moves_.data() + (j - first) * n);
      if (moved) follow(j, j + 1, j + 1, last, first);
      any |= moved;
    }
    if (!any) continue;
    changed_ = true;
    follow(first, last, last, group.width, first);
  }
}

// Column i of the group. moves [rows]: the change of the values. Whether any changed.
bool RowDescent::RoundColumn(const Group& group, std::size_t i, float* moves) {
  const std::size_t j = group.low + i, n = rows();
  const float* const weights = turned_.data() + j * n;
  std::uint32_t* const codes = codes_.data() + j * n;
  float* const errors = errors_.Row(j).data();
  const float* const gradient = group.gradient.Row(i).data();
  const float inverse = 1 / group.square.Row(i)[i];
  for (std::size_t r = 0; r < n; ++r) {
    values_[r] = weights[r] - errors[r];
    targets_[r] = values_[r] + gradient[r] * inverse;
  }
  format_.round_each(targets_, group_params_, column_codes_, next_);
  bool any = false;
  for (std::size_t r = 0; r < n; ++r) {
    const bool moved = column_codes_[r] != codes[r];
    codes[r] = column_codes_[r];
    moves[r] = moved ? next_[r] - values_[r] : 0;
    errors[r] = moved ? weights[r] - next_[r] : errors[r];
    any |= moved;
  }
  return any;
}

}  // namespace marlin
