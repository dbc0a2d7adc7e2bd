// Ranks and `best` of the rows of one group, as docs/methodology.md defines them.
#pragma once

#include <span>

#include "report/analysis.h"

namespace marlin {

// `best` needs quantized tensors at least this many times smaller than fp16.
inline constexpr double kBestCompression = 3.0;

// Sorts the rows (baselines, then ascending delta, then those without a delta) and fills rank and best.
//
// rank   the position by delta; a row whose own paired difference from the row above does not exclude 0 shares its rank
// best   least delta among rows with kBestCompression; among those not distinguished from it the smallest model, then
//        the fastest decode where both were timed alike
void RankRows(std::span<ResultRow> rows);

}  // namespace marlin
