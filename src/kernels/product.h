// Products of dense matrices in float or double, for calibration (Gram matrices, Cholesky factors, error feedback).
// Quantized weights are multiplied by Backend::Matmul instead.
#pragma once

#include <cstddef>

#include "base/matrix.h"
#include "base/thread_pool.h"
#include "kernels/isa.h"

namespace marlin {

// c[i][j] += factor * sum_l a[l][i] b[l][j]. The reduced axis l is the slow one of both, so a may be b: c += a^T a.
// c does not overlap a or b.
template <class T>
struct DenseProduct {
  MatrixView<const T> a;  // [length, m]
  MatrixView<const T> b;  // [length, n]
  MatrixView<T> c;        // [m, n]
  T factor = 1;
  bool upper = false;  // only j >= i is computed; the rest of c is neither read nor written
};

// l is summed in chunks of this many bytes (256 floats, 128 doubles): one chain inside a chunk, then c = fma(factor,
// sum, c). So an element has the same bits for every number of threads and every cut of c, and also when a long product
// is made as several whose lengths are multiples of the chunk.
inline constexpr std::size_t kProductChunkBytes = 1024;

// isa: what may be used; HostIsa() or less. T is float or double.
template <class T>
void Multiply(const DenseProduct<T>& product, IsaSet isa, ThreadPool& pool);
// On the calling thread alone: for work that is already spread over threads.
template <class T>
void Multiply(const DenseProduct<T>& product, IsaSet isa);

}  // namespace marlin
