// Method `gptq` (Frantar, Ashkboos, Hoefler, Alistarh 2023, arXiv 2210.17323): columns are rounded one after the other,
// those with the largest E[x^2] first. The error of each is spread over the columns that follow, so that the output of
// the layer on the calibration text changes least. Scales and zero points are those of `mse`, computed before in the
// order of storage, so the layout of the file does not change. Independent of the format.
//
// The paper rounds column i, divides its error by U[i][i] and subtracts U[i][j] times that from column j, where
// H^-1 = U^T U. With the columns in reverse order and H = V^T V the same update is: add V[j][i] / V[j][j] times the
// error to column j. So H is never inverted: a third of the work, and exact where the inverse would be rounded.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/matrix.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "formats/encoded_matrix.h"
#include "quantize/hessian.h"
#include "quantize/statistics.h"

namespace marlin {

// The factor of one input, shared by all weights with that input.
struct HessianFactor {
  // Column at each position. Columns are rounded from the last position to the first.
  std::vector<std::uint32_t> order;  // [k]
  // [k, k]; row p, column q < p: what an error of 1 at position p adds to the weight at position q. The rest is work
  // space.
  std::vector<double> feedback;
  std::vector<float> importance;  // [k], as Importance(): what the scales are searched with
  double damping = 0;             // share of the mean of the diagonal that was added to it
  std::size_t dead_columns = 0;   // never activated: rounded plainly; they take and give no error
};

// Damping that is tried: kDamping, then four times as much each time, up to this.
inline constexpr double kMostDamping = 100;

// The columns in the order of their positions: the least element of the diagonal first, equal ones in the reverse order
// of storage.
std::vector<std::uint32_t> OrderColumns(std::span<const double> elements);

// What a matrix whose eigenvalues are not negative before damping has as pivots, at least.
inline double LeastPivot(double damping, HessianDiagonal diagonal) { return 0.5 * damping * diagonal.mean; }

Error NoTokens();
Error NotPositiveDefinite(std::size_t channels);

// Factors H = 2 X^T X / tokens + damping * mean(diagonal) in double. Damping starts at kDamping and is multiplied by 4
// until H is positive definite. 8 k^2 bytes. Errors: kUsage (no Gram), kInput (no tokens), kNumerical (not positive
// definite at any damping).
Result<HessianFactor> FactorHessian(const InputStatistics& stats, ThreadPool& pool);

// weights [n, k], finite. Rows do not depend on each other: stacking weights that share an input changes nothing. The
// same bits for every number of threads.
EncodedMatrix EncodeGptq(const FormatRow& format, MatrixView<const float> weights, const HessianFactor& factor,
                         ThreadPool& pool);

// tr((W - Q) H (W - Q)^T) with H = 2 X^T X / tokens, not damped: twice the mean squared change of the layer's output,
// summed over the outputs. The statistics hold a Gram.
double ReconstructionError(MatrixView<const float> weights, const EncodedMatrixView& quantized,
                           const InputStatistics& stats, ThreadPool& pool);

}  // namespace marlin
