// Method `mse`: the scale and the zero point of every group are searched so that the weighted error sum_j importance[j]
// (w[j] - decode(round(w[j])))^2 is small. Independent of the format: it tries the candidates that the format proposes.
#pragma once

#include <span>
#include <vector>

#include "base/matrix.h"
#include "base/thread_pool.h"
#include "formats/encoded_matrix.h"

namespace marlin {

// The best proposal of the format, its scale and bias then refitted in closed form to the codes (weighted least
// squares) and the codes to them as long as that helps. Never a larger error than the format's Fit. Units are not
// chosen. importance: as long as weights, not negative.
GroupParams SearchParams(const FormatRow& format, std::span<const float> weights, std::span<const float> importance);

// The same from given params on, whose units stay.
GroupParams ImproveParams(const FormatRow& format, std::span<const float> weights, std::span<const float> importance,
                          const GroupParams& params);

// Settled: units are chosen for the params that were searched, and the params then improved with them. [n, groups] of
// weights [n, k]; importance [k], empty = all equal.
std::vector<GroupParams> SearchAllParams(const FormatRow& format, MatrixView<const float> weights,
                                         std::span<const float> importance, ThreadPool& pool);

// weights [n, k], finite. The same bits for every number of threads.
EncodedMatrix EncodeMse(const FormatRow& format, MatrixView<const float> weights, std::span<const float> importance,
                        ThreadPool& pool);

}  // namespace marlin
