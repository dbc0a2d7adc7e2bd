#include "quantize/cholesky.h"

#include <algorithm>
#include <cmath>

#include "kernels/product.h"

namespace marlin {
namespace {

constexpr std::size_t kBlock = kProductChunkBytes / sizeof(double);
// Columns of a strip that one thread solves at a time: 128 x 64 doubles stay in an L2 cache.
constexpr std::size_t kStrip = 64;

// The square [begin, end) of the diagonal.
std::optional<std::size_t> FactorDiagonal(MatrixView<double> a, std::size_t begin, std::size_t end,
                                          double least_pivot) {
  for (std::size_t i = begin; i < end; ++i) {
    double* const row = a.Row(i).data();
    if (!(row[i] >= least_pivot)) return i;  // false for NaN too
    const double pivot = std::sqrt(row[i]);
    row[i] = pivot;
    for (std::size_t j = i + 1; j < end; ++j) row[j] /= pivot;
    for (std::size_t r = i + 1; r < end; ++r) {
      double* const below = a.Row(r).data();
      const double factor = row[r];
      for (std::size_t j = r; j < end; ++j) below[j] -= factor * row[j];
    }
  }
  return std::nullopt;
}

}  // namespace

// Forward substitution.
void SolveTransposed(MatrixView<const double> v, MatrixView<double> b) {
  for (std::size_t i = 0; i < b.rows; ++i) {
    const double* const solved = v.Row(i).data();
    double* const own = b.Row(i).data();
    const double pivot = solved[i];
    for (std::size_t j = 0; j < b.cols; ++j) own[j] /= pivot;
    for (std::size_t r = i + 1; r < b.rows; ++r) {
      double* const below = b.Row(r).data();
      const double factor = solved[r];
      for (std::size_t j = 0; j < b.cols; ++j) below[j] -= factor * own[j];
    }
  }
}

std::optional<std::size_t> FactorCholesky(MatrixView<double> a, double least_pivot, IsaSet isa, ThreadPool& pool) {
  const std::size_t n = a.rows;
  for (std::size_t begin = 0; begin < n; begin += kBlock) {
    const std::size_t end = std::min(begin + kBlock, n);
    if (const auto failed = FactorDiagonal(a, begin, end, least_pivot)) return failed;
    if (end == n) break;
    const MatrixView<const double> square(a.Row(begin).data() + begin, end - begin, end - begin, a.stride);
    pool.Split((n - end + kStrip - 1) / kStrip, [&](std::size_t first, std::size_t last, int) {
      for (std::size_t strip = first; strip < last; ++strip) {
        const std::size_t column = end + strip * kStrip;
        SolveTransposed(square, {a.Row(begin).data() + column, end - begin, std::min(kStrip, n - column), a.stride});
      }
    });
    const MatrixView<const double> strip(a.Row(begin).data() + end, end - begin, n - end, a.stride);
    const MatrixView<double> rest(a.Row(end).data() + end, n - end, n - end, a.stride);
    Multiply<double>({strip, strip, rest, -1, true}, isa, pool);
  }
  return std::nullopt;
}

}  // namespace marlin
