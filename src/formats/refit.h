// The scale and the bias of a group for which the error is least while the codes stay: weighted least squares, rounded
// to what the format can store.
#pragma once

#include "formats/format.h"

namespace marlin {

// The error of a group as a quadratic function of changes of its scale and bias. With v the values of the codes for the
// scale 1 and the bias 0, e the present errors (weight - decoded) and H the matrix of the error e^T H e:
struct RefitSums {
  double scale_slope = 0;      // v^T H e
  double bias_slope = 0;       // 1^T H e
  double scale_curvature = 0;  // v^T H v
  double bias_curvature = 0;   // 1^T H 1
  double mixed_curvature = 0;  // v^T H 1

  // The change of the error if the scale and the bias change by so much.
  constexpr double ErrorChange(double scale_change, double bias_change) const {
    return scale_change * (scale_change * scale_curvature - 2 * scale_slope) +
           bias_change * (bias_change * bias_curvature - 2 * bias_slope) +
           2 * scale_change * bias_change * mixed_curvature;
  }

  // The best bias for a scale that changed, and back.
  constexpr double BestBias(const GroupParams& params, double scale_change) const {
    return params.bias + (bias_slope - scale_change * mixed_curvature) / bias_curvature;
  }

  // The scale of the least error where the bias may change too.
  constexpr double BestScaleWithBias(const GroupParams& params) const {
    const double determinant = scale_curvature * bias_curvature - mixed_curvature * mixed_curvature;
    if (!(determinant > 1e-9 * scale_curvature * bias_curvature)) return params.scale;
    return params.scale + (scale_slope * bias_curvature - bias_slope * mixed_curvature) / determinant;
  }
};

// The best that the format can store among: both changed together, the scale alone, the bias alone. `params` itself
// where none of them lowers the error. The scale never becomes 0, the units stay.
template <Format F>
constexpr GroupParams Refit(const RefitSums& sums, const GroupParams& params) noexcept {
  GroupParams best = params;
  double least = 0;
  const auto take_if_better = [&](float scale, float bias) {
    if (scale == 0) return;
    const double change =
        sums.ErrorChange(static_cast<double>(scale) - params.scale, static_cast<double>(bias) - params.bias);
    if (!(change < least)) return;
    least = change;
    best.scale = scale;
    best.bias = bias;
  };
  if (sums.scale_curvature > 0) {
    const double wanted = params.scale + sums.scale_slope / sums.scale_curvature;
    take_if_better(F::RoundScale(static_cast<float>(wanted), params), params.bias);
  }
  if (!HasBias(F::kInfo) || !(sums.bias_curvature > 0)) return best;
  const float scale = F::RoundScale(static_cast<float>(sums.BestScaleWithBias(params)), params);
  const auto with_its_bias = [&](float own) {
    const double bias = sums.BestBias(params, static_cast<double>(own) - params.scale);
    take_if_better(own, F::RoundBias(static_cast<float>(bias), params));
  };
  with_its_bias(scale);
  with_its_bias(params.scale);
  return best;
}

}  // namespace marlin
