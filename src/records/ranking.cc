#include "records/ranking.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace marlin {
namespace {

RankOrder OrderOf(std::span<const ResultRow> rows) {
  const Record* first = nullptr;
  for (const ResultRow& row : rows) {
    if (row.is_baseline()) continue;
    if (!row.kl) return RankOrder::kPerplexity;
    if (first == nullptr) first = &row.record();
    if (!WhyKlNotPaired(*first, row.record()).empty()) return RankOrder::kPerplexity;
  }
  return first == nullptr ? RankOrder::kPerplexity : RankOrder::kDivergence;
}

// Baselines, rows that can be ranked, others; inside by loss, then by name and time.
bool Before(const ResultRow& a, const ResultRow& b, RankOrder order) {
  const auto rest = [](const ResultRow& row) {
    return std::tie(row.name, row.record().config.id, row.record().created, row.record().id);
  };
  if (PlaceOf(a, order) != PlaceOf(b, order)) return PlaceOf(a, order) < PlaceOf(b, order);
  const std::optional<double> loss_a = LossOf(a, order);
  const std::optional<double> loss_b = LossOf(b, order);
  if (loss_a && loss_b && *loss_a != *loss_b) return *loss_a < *loss_b;
  return rest(a) < rest(b);
}

bool FasterDecode(const ResultRow& a, const ResultRow& b) {
  const RowTiming* const x = a.timing();
  const RowTiming* const y = b.timing();
  if (x == nullptr || y == nullptr || !x->decode || !y->decode || x->setting != y->setting) return false;
  return TimingRun(x->record()) == TimingRun(y->record()) && x->decode->tok_s > y->decode->tok_s;
}

// `rows` are sorted.
void MarkBest(std::span<ResultRow> rows, RankOrder order) {
  std::vector<const ResultRow*> small;
  for (const ResultRow& row : rows) {
    if (row.rank && QuantizedCompression(row.record().size).value_or(0) >= kBestCompression) small.push_back(&row);
  }
  const ResultRow* const best = BestOf(std::move(small), order);
  for (ResultRow& row : rows) row.best = &row == best;
}

// A loss that BestOf compares.
double ComparedLoss(const ResultRow& row, RankOrder order) { return LossOf(row, order).value_or(0); }

}  // namespace

std::optional<double> LossOf(const ResultRow& row, RankOrder order) {
  if (order == RankOrder::kDivergence) return row.kl ? std::optional(row.kl->mean) : std::nullopt;
  return row.delta ? std::optional(row.delta->percent) : std::nullopt;
}

int PlaceOf(const ResultRow& row, RankOrder order) { return row.is_baseline() ? 0 : LossOf(row, order) ? 1 : 2; }

bool ToldApart(const ResultRow& a, const ResultRow& b, RankOrder order) {
  if (a.is_baseline() && b.is_baseline()) return false;
  if (order == RankOrder::kPerplexity) return DeltaOf(a.record(), b.record()).distinguished();
  if (a.is_baseline()) return !b.indistinguishable;
  if (b.is_baseline()) return !a.indistinguishable;
  return KlDifference(a.record(), b.record()).distinguished();
}

const ResultRow* BestOf(std::vector<const ResultRow*> rows, RankOrder order) {
  if (rows.empty()) return nullptr;
  std::ranges::stable_sort(rows, {}, [&](const ResultRow* row) { return ComparedLoss(*row, order); });
  const ResultRow* best = rows.front();
  for (const ResultRow* row : rows) {
    if (row == rows.front() || ToldApart(*rows.front(), *row, order)) continue;
    const std::uint64_t bytes = row->record().size.model_bytes;
    const std::uint64_t best_bytes = best->record().size.model_bytes;
    if (bytes < best_bytes || (bytes == best_bytes && FasterDecode(*row, *best))) best = row;
  }
  return best;
}

RankOrder RankRows(std::span<ResultRow> rows) {
  const RankOrder order = OrderOf(rows);
  std::sort(rows.begin(), rows.end(), [&](const ResultRow& a, const ResultRow& b) { return Before(a, b, order); });
  std::size_t position = 0;
  ResultRow* above = nullptr;
  for (ResultRow& row : rows) {
    if (!LossOf(row, order)) continue;
    ++position;
    const bool shares = above != nullptr && !ToldApart(*above, row, order);
    row.rank = shares ? above->rank : position;
    if (shares) above->tied = row.tied = true;
    above = &row;
  }
  MarkBest(rows, order);
  return order;
}

}  // namespace marlin
