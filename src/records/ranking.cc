#include "records/ranking.h"

#include <algorithm>
#include <tuple>

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

// One order of ranking: by what, and when two rows differ in it.
class Ranking {
 public:
  explicit Ranking(RankOrder order) : order_(order) {}

  std::optional<double> Loss(const ResultRow& row) const { return LossOf(row, order_); }

  bool ToldApart(const ResultRow& a, const ResultRow& b) const {
    return order_ == RankOrder::kDivergence ? KlDifference(a.record(), b.record()).distinguished()
                                            : DeltaOf(a.record(), b.record()).distinguished();
  }

  // Baselines, rows that can be ranked, others; inside by loss, then by name and time.
  bool Before(const ResultRow& a, const ResultRow& b) const {
    const auto rest = [](const ResultRow& row) {
      return std::tie(row.name, row.record().config.id, row.record().created, row.record().id);
    };
    if (PlaceOf(a, order_) != PlaceOf(b, order_)) return PlaceOf(a, order_) < PlaceOf(b, order_);
    const std::optional<double> loss_a = Loss(a);
    const std::optional<double> loss_b = Loss(b);
    if (loss_a && loss_b && *loss_a != *loss_b) return *loss_a < *loss_b;
    return rest(a) < rest(b);
  }

 private:
  RankOrder order_;
};

bool FasterDecode(const ResultRow& a, const ResultRow& b) {
  const RowTiming* const x = a.timing();
  const RowTiming* const y = b.timing();
  if (x == nullptr || y == nullptr || !x->decode || !y->decode || x->setting != y->setting) return false;
  return TimingRun(x->record()) == TimingRun(y->record()) && x->decode->tok_s > y->decode->tok_s;
}

// `rows` are sorted.
void MarkBest(std::span<ResultRow> rows, const Ranking& ranking) {
  const auto qualifies = [](const ResultRow& row) {
    return row.rank && QuantizedCompression(row.record().size).value_or(0) >= kBestCompression;
  };
  const auto least = std::find_if(rows.begin(), rows.end(), qualifies);
  if (least == rows.end()) return;
  ResultRow* best = &*least;
  for (auto row = std::next(least); row != rows.end(); ++row) {
    if (!qualifies(*row) || ranking.ToldApart(*least, *row)) continue;
    const std::uint64_t bytes = row->record().size.model_bytes;
    const std::uint64_t best_bytes = best->record().size.model_bytes;
    if (bytes < best_bytes || (bytes == best_bytes && FasterDecode(*row, *best))) best = &*row;
  }
  best->best = true;
}

}  // namespace

std::optional<double> LossOf(const ResultRow& row, RankOrder order) {
  if (order == RankOrder::kDivergence) return row.kl ? std::optional(row.kl->mean) : std::nullopt;
  return row.delta ? std::optional(row.delta->percent) : std::nullopt;
}

int PlaceOf(const ResultRow& row, RankOrder order) { return row.is_baseline() ? 0 : LossOf(row, order) ? 1 : 2; }

RankOrder RankRows(std::span<ResultRow> rows) {
  const RankOrder order = OrderOf(rows);
  const Ranking ranking(order);
  std::sort(rows.begin(), rows.end(), [&](const ResultRow& a, const ResultRow& b) { return ranking.Before(a, b); });
  std::size_t position = 0;
  ResultRow* above = nullptr;
  for (ResultRow& row : rows) {
    if (!ranking.Loss(row)) continue;
    ++position;
    const bool shares = above != nullptr && !ranking.ToldApart(*above, row);
    row.rank = shares ? above->rank : position;
    if (shares) above->tied = row.tied = true;
    above = &row;
  }
  MarkBest(rows, ranking);
  return order;
}

}  // namespace marlin
