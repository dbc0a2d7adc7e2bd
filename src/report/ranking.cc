#include "report/ranking.h"

#include <algorithm>
#include <tuple>
#include <vector>

namespace marlin {
namespace {

bool DistinguishedRows(const ResultRow& a, const ResultRow& b) {
  return DeltaOf(a.record(), b.record()).distinguished();
}

// Baselines, rows with a delta, others; inside by delta, then by name and time.
bool Before(const ResultRow& a, const ResultRow& b) {
  const auto place = [](const ResultRow& row) { return row.is_baseline() ? 0 : row.delta ? 1 : 2; };
  const auto rest = [](const ResultRow& row) {
    return std::tie(row.name, row.record().config.id, row.record().created, row.record().id);
  };
  if (place(a) != place(b)) return place(a) < place(b);
  if (a.delta && b.delta && a.delta->percent != b.delta->percent) return a.delta->percent < b.delta->percent;
  return rest(a) < rest(b);
}

bool FasterDecode(const ResultRow& a, const ResultRow& b) {
  return a.decode && b.decode && TimingOf(a.record()) == TimingOf(b.record()) && a.decode->tok_s > b.decode->tok_s;
}

void MarkBest(std::span<ResultRow> rows) {
  const auto qualifies = [](const ResultRow& row) {
    return row.rank && QuantizedCompression(row.record().size).value_or(0) >= kBestCompression;
  };
  const auto least = std::find_if(rows.begin(), rows.end(), qualifies);  // rows are sorted by delta
  if (least == rows.end()) return;
  ResultRow* best = &*least;
  for (auto row = std::next(least); row != rows.end(); ++row) {
    if (!qualifies(*row) || DistinguishedRows(*least, *row)) continue;
    const std::uint64_t bytes = row->record().size.model_bytes;
    const std::uint64_t best_bytes = best->record().size.model_bytes;
    if (bytes < best_bytes || (bytes == best_bytes && FasterDecode(*row, *best))) best = &*row;
  }
  best->best = true;
}

}  // namespace

void RankRows(std::span<ResultRow> rows) {
  std::sort(rows.begin(), rows.end(), Before);
  std::size_t position = 0;
  const ResultRow* above = nullptr;
  for (ResultRow& row : rows) {
    if (!row.delta) continue;
    ++position;
    const bool shares = above != nullptr && !DistinguishedRows(*above, row);
    row.rank = shares ? above->rank : position;
    above = &row;
  }
  MarkBest(rows);
}

}  // namespace marlin
