// The Hessian of a linear layer's squared output error with regard to one row of its weights: 2 X^T X / tokens, the
// same for every row, damped so that it is positive definite.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "quantize/statistics.h"

namespace marlin {

// What X^T X is multiplied by; of at least one token.
inline double GramFactor(const InputStatistics& stats) { return 2.0 / static_cast<double>(stats.tokens); }

// One element of the Hessian, not damped. The statistics hold a Gram.
inline double HessianAt(const InputStatistics& stats, std::size_t i, std::size_t j) {
  return GramFactor(stats) * stats.gram[std::min(i, j) * stats.channels() + std::max(i, j)];
}

struct HessianDiagonal {
  double mean = 1;       // of the columns that are used
  std::size_t dead = 0;  // columns that were never activated
};
HessianDiagonal MeasureDiagonal(std::span<const double> elements);

// [k] the elements on the diagonal, not damped.
std::vector<double> ElementsOfDiagonal(const InputStatistics& stats);

// The value on the diagonal: the element, or the mean where the column is dead, plus damping times the mean.
inline double DampedElement(double element, HessianDiagonal diagonal, double damping) {
  return (element == 0 ? diagonal.mean : element) + damping * diagonal.mean;
}

// [k, k], both halves.
std::vector<float> DampedHessian(const InputStatistics& stats, double damping, ThreadPool& pool);

}  // namespace marlin
