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
};

// The change of the error if the scale and the bias change by so much.
double ErrorChange(const RefitSums& sums, double scale_change, double bias_change);

// The best that the format can store among: both changed together, the scale alone, the bias alone. `params` itself
// where none of them lowers the error. The scale never becomes 0, the units stay.
GroupParams Refit(const FormatRow& format, const RefitSums& sums, const GroupParams& params);

}  // namespace marlin
