// Improves a part of one row of quantized weights by coordinate descent (quantize/coordinate_descent.h): first the
// scale and the bias of each group, then its codes one at a time. The same code runs on hosts and in kernels of a GPU.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/strided.h"
#include "formats/refit.h"

namespace marlin {

// A row and a block of its columns: whole groups, but for the last of the row.
struct RowToImprove {
  std::size_t width = 0;  // columns
  // The Hessian of these columns: element i, j at i * square_stride + j; symmetric.
  const float* square = nullptr;
  std::size_t square_stride = 0;
  Strided<const float> weights;       // [width]
  Strided<float> errors;              // [width] weight - value, and stays so
  Strided<std::int32_t> codes;        // [width]
  GroupParams* params = nullptr;      // of the groups of the block
  Strided<float> gradient;            // [width] H e of all errors of the row; is changed
  Strided<float> unit, curved, ones;  // [width] work space; `ones` of formats with a bias only
};

// The steps for one row. F has groups.
template <Format F>
class RowImprover {
 public:
  constexpr explicit RowImprover(const RowToImprove& row) : row_(row) {}

  // Whether anything changed.
  constexpr bool Run() {
    constexpr std::size_t kGroup = F::kInfo.group;
    for (low_ = 0; low_ < row_.width; low_ = high_) {
      high_ = low_ + kGroup < row_.width ? low_ + kGroup : row_.width;
      params_ = row_.params[low_ / kGroup];
      RefitParams();
      if constexpr (F::kInfo.scale_type == ScaleType::kE8m0) {
        MoveScale(2);
        MoveScale(0.5f);
      }
      row_.params[low_ / kGroup] = params_;
      RoundColumns();
    }
    return changed_;
  }

 private:
  // Columns whose moves are kept in registers until all others get them, and columns that get them at a time.
  static constexpr std::size_t kTogether = 8;

  constexpr float At(std::size_t i, std::size_t j) const { return row_.square[i * row_.square_stride + j]; }

  // curved = H unit of the group's columns, for all columns from the group's first on.
  constexpr void Curve() {
    for (std::size_t i = low_; i < row_.width; i += kTogether) {
      const std::size_t count = std::min(std::size_t{kTogether}, row_.width - i);
      float sums[kTogether] = {}, ones[kTogether] = {};
      for (std::size_t j = low_; j < high_; ++j) {
        const float value = row_.unit[j];
        for (std::size_t c = 0; c < kTogether; ++c) {
          if (c >= count) continue;
          sums[c] += At(j, i + c) * value;
          if constexpr (HasBias(F::kInfo)) ones[c] += At(j, i + c);
        }
      }
      for (std::size_t c = 0; c < kTogether; ++c) {
        if (c >= count) continue;
        row_.curved[i + c] = sums[c];
        if constexpr (HasBias(F::kInfo)) row_.ones[i + c] = ones[c];
      }
    }
  }

  // The scale and the bias for which the error is least while the codes stay.
  constexpr void RefitParams() {
    const GroupParams unit{.scale = 1, .zero_point = params_.zero_point};
    for (std::size_t i = low_; i < high_; ++i) {
      row_.unit[i] = F::Decode(static_cast<std::uint32_t>(row_.codes[i]), unit);
    }
    Curve();
    RefitSums sums;
    for (std::size_t i = low_; i < high_; ++i) {
      const double value = row_.unit[i], gradient = row_.gradient[i];
      sums.scale_slope += value * gradient;
      sums.scale_curvature += value * row_.curved[i];
      if constexpr (HasBias(F::kInfo)) {
        const double one = row_.ones[i];
        sums.bias_slope += gradient;
        sums.bias_curvature += one;
        sums.mixed_curvature += value * one;
      }
    }
    const GroupParams refitted = Refit<F>(sums, params_);
    if (refitted == params_) return;
    const float scale_change = refitted.scale - params_.scale, bias_change = refitted.bias - params_.bias;
    for (std::size_t i = low_; i < high_; ++i) row_.errors[i] -= scale_change * row_.unit[i] + bias_change;
    for (std::size_t i = low_; i < row_.width; ++i) {
      float change = scale_change * row_.curved[i];
      if constexpr (HasBias(F::kInfo)) change += bias_change * row_.ones[i];
      row_.gradient[i] -= change;
    }
    params_ = refitted;
    changed_ = true;
  }

  // The code for another scale: rounded to where the column's own error would be least.
  constexpr std::uint32_t Trial(std::size_t i, const GroupParams& params) const {
    return F::Round(row_.weights[i] - row_.errors[i] + row_.gradient[i] / At(i, i), params);
  }

  // Scales that are far from each other seldom get better while the codes stay. The group gets codes for the scale
  // times `factor`, and keeps them if the error falls. At the ends of the range the scale stays.
  constexpr void MoveScale(float factor) {
    GroupParams moved = params_;
    const float scale = F::RoundScale(factor * params_.scale, params_);
    if (scale != 0) moved.scale = scale;
    for (std::size_t i = low_; i < high_; ++i) {
      row_.unit[i] = F::Decode(Trial(i, moved), moved) - (row_.weights[i] - row_.errors[i]);
    }
    Curve();
    double change = 0;
    for (std::size_t i = low_; i < high_; ++i) {
      change += static_cast<double>(row_.unit[i]) * (row_.curved[i] - 2.0 * row_.gradient[i]);
    }
    if (!(change < 0)) return;
    for (std::size_t i = low_; i < high_; ++i) {
      row_.codes[i] = static_cast<std::int32_t>(Trial(i, moved));
      row_.errors[i] -= row_.unit[i];
    }
    for (std::size_t i = low_; i < row_.width; ++i) row_.gradient[i] -= row_.curved[i];
    params_ = moved;
    changed_ = true;
  }

  // Every code becomes the one for which the error is least while the others stay. A move changes the gradient of the
  // columns that follow.
  constexpr void RoundColumns() {
    for (std::size_t first = low_; first < high_; first += kTogether) {
      const std::size_t last = std::min(first + kTogether, high_);
      float moves[kTogether] = {};
      bool any = false;
      for (std::size_t c = 0; c < kTogether; ++c) {
        const std::size_t i = first + c;
        if (i >= last) continue;
        float gradient = row_.gradient[i];
        for (std::size_t before = 0; before < kTogether; ++before) {
          if (before < c) gradient -= At(first + before, i) * moves[before];
        }
        const float value = row_.weights[i] - row_.errors[i];
        const std::uint32_t code = F::Round(value + gradient * (1 / At(i, i)), params_);
        if (code == static_cast<std::uint32_t>(row_.codes[i])) continue;
        const float next = F::Decode(code, params_);
        row_.codes[i] = static_cast<std::int32_t>(code);
        row_.errors[i] = row_.weights[i] - next;
        moves[c] = next - value;
        any = true;
      }
      if (!any) continue;
      changed_ = true;
      for (std::size_t i = last; i < row_.width; ++i) {
        float gradient = row_.gradient[i];
        for (std::size_t c = 0; c < kTogether; ++c) {
          if (first + c < last) gradient -= At(first + c, i) * moves[c];
        }
        row_.gradient[i] = gradient;
      }
    }
  }

  RowToImprove row_;
  std::size_t low_ = 0, high_ = 0;  // the group at hand
  GroupParams params_;
  bool changed_ = false;
};

template <Format F>
constexpr bool ImproveRow(const RowToImprove& row) noexcept {
  return RowImprover<F>(row).Run();
}

}  // namespace marlin
