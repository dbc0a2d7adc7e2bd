// Ranks and `best` of the rows of one group, as docs/methodology.md defines them.
#pragma once

#include <optional>
#include <span>

#include "records/analysis.h"

namespace marlin {

// What a row is ranked or sorted by: its mean KL or its perplexity delta. Empty for a baseline and where it was not
// measured.
std::optional<double> LossOf(const ResultRow& row, RankOrder order);

// 0 = baselines, 1 = rows with a loss, 2 = others: the order of their places in a table.
int PlaceOf(const ResultRow& row, RankOrder order);

// `best` needs quantized tensors at least this many times smaller than fp16.
inline constexpr double kBestCompression = 3.0;

// Sorts the rows (baselines, then ascending by the figure of the order, then those without it), fills rank and best,
// and returns the order: kDivergence when every row that is no baseline has a KL and all can be paired, else
// kPerplexity.
//
// rank   the position by mean KL or by perplexity delta; a row shares the rank of the row above unless the interval of
//        their own paired difference, of KL or of perplexity, excludes 0
// best   the first among rows with kBestCompression; among those not told apart from it the smallest model, then the
//        fastest decode where both were timed in turn
RankOrder RankRows(std::span<ResultRow> rows);

}  // namespace marlin
