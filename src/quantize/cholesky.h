// Cholesky factor of a large symmetric matrix in double, blocked and on all threads.
#pragma once

#include <optional>

#include "base/matrix.h"
#include "base/thread_pool.h"
#include "kernels/isa.h"

namespace marlin {

// a [n, n]: the upper half, diagonal included, is replaced by V with V^T V = a; the rest is neither read nor written.
// Stops at the first pivot (what of a diagonal element the rows above do not explain) that is not at least
// `least_pivot` > 0, and returns its index; `a` is then half done. The same bits for every number of threads.
std::optional<std::size_t> FactorCholesky(MatrixView<double> a, double least_pivot, IsaSet isa, ThreadPool& pool);

// b = V^-T b: v [n, n], of which only the upper half is read, b [n, m]. On the calling thread.
void SolveTransposed(MatrixView<const double> v, MatrixView<double> b);

}  // namespace marlin
