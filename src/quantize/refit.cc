#include "quantize/refit.h"

namespace marlin {
namespace {

// The best bias for a scale that changed, and back.
double BestBias(const RefitSums& sums, const GroupParams& params, double scale_change) {
  return params.bias + (sums.bias_slope - scale_change * sums.mixed_curvature) / sums.bias_curvature;
}

// The scale of the least error where the bias may change too.
double BestScaleWithBias(const RefitSums& sums, const GroupParams& params) {
  const double determinant = sums.scale_curvature * sums.bias_curvature - sums.mixed_curvature * sums.mixed_curvature;
  if (!(determinant > 1e-9 * sums.scale_curvature * sums.bias_curvature)) return params.scale;
  return params.scale + (sums.scale_slope * sums.bias_curvature - sums.bias_slope * sums.mixed_curvature) / determinant;
}

}  // namespace

double ErrorChange(const RefitSums& sums, double scale_change, double bias_change) {
  return scale_change * (scale_change * sums.scale_curvature - 2 * sums.scale_slope) +
         bias_change * (bias_change * sums.bias_curvature - 2 * sums.bias_slope) +
         2 * scale_change * bias_change * sums.mixed_curvature;
}

GroupParams Refit(const FormatRow& format, const RefitSums& sums, const GroupParams& params) {
  GroupParams best = params;
  double least = 0;
  const auto take_if_better = [&](float scale, float bias) {
    if (scale == 0) return;
    const double change =
        ErrorChange(sums, static_cast<double>(scale) - params.scale, static_cast<double>(bias) - params.bias);
    if (!(change < least)) return;
    least = change;
    best.scale = scale;
    best.bias = bias;
  };
  if (sums.scale_curvature > 0) {
    const double wanted = params.scale + sums.scale_slope / sums.scale_curvature;
    take_if_better(format.round_scale(static_cast<float>(wanted), params), params.bias);
  }
  if (!HasBias(format.info) || !(sums.bias_curvature > 0)) return best;
  const float scale = format.round_scale(static_cast<float>(BestScaleWithBias(sums, params)), params);
  for (const float own : {scale, params.scale}) {
    const double bias = BestBias(sums, params, static_cast<double>(own) - params.scale);
    take_if_better(own, format.round_bias(static_cast<float>(bias), params));
  }
  return best;
}

}  // namespace marlin
