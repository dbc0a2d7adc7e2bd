// Coordinate descent on the codes and scales of a quantized matrix (Behdin et al. 2023, "QuantEase", arXiv 2309.01885,
// for the codes): the scale of each group, then each of its columns, is set to the value with the least error of the
// layer's output, given all other columns. Every step lowers tr((W - Q) H (W - Q)^T) or changes nothing.
#pragma once

#include <vector>

#include "base/matrix.h"
#include "base/thread_pool.h"
#include "formats/encoded_matrix.h"

namespace marlin {

// More sweeps change the divergence of a model by no more than its interval (docs/decisions/0007).
inline constexpr int kDescentSweeps = 4;

// Improves `matrix`, the quantized weights [n, k], in at most `sweeps` passes over all columns; fewer when nothing
// changes any more. hessian [k, k]: DampedHessian. The same bits for every number of threads.
void DescendByCoordinates(MatrixView<const float> weights, const std::vector<float>& hessian, int sweeps,
                          EncodedMatrix& matrix, ThreadPool& pool);

}  // namespace marlin
