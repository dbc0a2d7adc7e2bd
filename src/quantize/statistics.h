// Statistics of the input of a linear layer on a calibration text. Layers that share an input (q/k/v, gate/up) share
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/matrix.h"
#include "base/result.h"
#include "base/thread_pool.h"

namespace marlin {

struct InputStatistics {
  std::uint64_t tokens = 0;
  std::vector<double> sum_squares;  // [k] sum of x^2
  std::vector<double> sum_abs;      // [k] sum of |x|
  std::vector<float> max_abs;       // [k]
  // [k, k] sum of x x^T: row i holds columns j >= i, what lies below the diagonal is 0 (the matrix is symmetric).
  // Empty = not kept.
  std::vector<float> gram;

  std::size_t channels() const { return sum_squares.size(); }
};

// Adds the rows of x [tokens, k]; the first call sets k and whether X^T X is kept. Sums go over the tokens in order, so
// the bits do not depend on the number of threads. Errors leave `stats` as it was: kNumerical (NaN or infinity: names
// token and channel), kInput (another k), kUsage (keep_gram changed).
Status Accumulate(InputStatistics& stats, MatrixView<const float> x, ThreadPool& pool, bool keep_gram);

// Adds the statistics of another run. An empty side is neutral. Errors: kInput (other k), kUsage (only one kept X^T X).
Status Merge(InputStatistics& into, const InputStatistics& from);

// Sizes agree; sums and largest values are finite and not negative, products finite, and k is `channels`. Errors: kInput, kNumerical.
Status CheckStatistics(const InputStatistics& stats, std::size_t channels);

// Channels that were 0 in every token, ascending.
std::vector<std::size_t> SilentChannels(const InputStatistics& stats);

// Damping of second moments as a share of their mean: the weight of a channel that the text hardly uses.
inline constexpr double kDamping = 0.01;

// [k] E[x^2] + kDamping * mean E[x^2] over the channels that were used; all 1 when none was or no token was seen. Never
// 0, so that a group of silent channels is still rounded sensibly.
std::vector<float> Importance(const InputStatistics& stats);

}  // namespace marlin
