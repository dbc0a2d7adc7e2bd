// Ranks and `best` of the rows of one group, as docs/methodology.md defines them.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "records/analysis.h"

namespace marlin {

// What a row is ranked or sorted by: its mean KL or its perplexity delta. Empty for a baseline and where it was not
// measured.
std::optional<double> LossOf(const ResultRow& row, RankOrder order);

// 0 = baselines, 1 = rows with a loss, 2 = others: the order of their places in a table.
int PlaceOf(const ResultRow& row, RankOrder order);

// `best` needs quantized tensors at least this many times smaller than fp16.
inline constexpr double kBestCompression = 3.0;

// Whether the interval of the paired difference of two rows of a group excludes 0. The rows have a loss in this order,
// or are baselines: those are told apart from every row that diverges from them more than the noise floor does.
bool ToldApart(const ResultRow& a, const ResultRow& b, RankOrder order);

// Of rows of one group with a loss in this order (a baseline has 0), the one with the least; among those not told apart
// from it the smallest model, then the fastest decode where both were timed in turn. Null when there are none.
const ResultRow* BestOf(std::vector<const ResultRow*> rows, RankOrder order);

// Sorts the rows (baselines, then ascending by the figure of the order, then those without it), fills rank and best,
// and returns the order: kDivergence when every row that is no baseline has a KL and all can be paired, else
// kPerplexity.
//
// rank   the position by mean KL or by perplexity delta; a row shares the rank of the row above unless the interval of
//        their own paired difference, of KL or of perplexity, excludes 0
// best   BestOf the rows with kBestCompression
RankOrder RankRows(std::span<ResultRow> rows);

}  // namespace marlin
