// Scaling of input channels before rounding (Lin et al. 2023, "AWQ", arXiv 2306.00978): the columns of channels with
// large inputs are enlarged, so that their relative rounding error shrinks. The input is divided by the same factors:
// the weight of the preceding norm or the rows of the preceding linear layer absorb them. This file has only the
// mathematics; the caller folds the factors into a model.
#pragma once

#include <span>
#include <vector>

#include "base/matrix.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "formats/format.h"
#include "quantize/statistics.h"

namespace marlin {

struct ChannelScaling {
  std::vector<float> factors;  // [k] column j of every weight times factors[j], input j divided by it; 1 = leave alone
  double exponent = 0;         // factors = (mean |x|)^exponent, up to a common factor
  double plain_error = 0;      // sum over the weights of Importance()[j] (w - q)^2, scales searched by `mse`
  double scaled_error = 0;     // the same with the factors applied; never above plain_error
};

struct WeightToScale {
  MatrixView<const float> values;  // [n, k]
  const FormatRow* format = nullptr;
};

// weights: all that share the input. The exponent is the best of 0, 0.05 .. 1, judged on some rows of every weight and
// confirmed on all. The same bits for every number of threads. Errors: as CheckStatistics; kUsage (a format without
// groups: nothing to gain).
Result<ChannelScaling> SearchChannelScaling(std::span<const WeightToScale> weights, const InputStatistics& stats,
                                            ThreadPool& pool);

}  // namespace marlin
