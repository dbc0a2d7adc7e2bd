// The order of the rows in the tables of a model.
#include <algorithm>

#include "records/ranking.h"
#include "report/page_sections.h"

namespace marlin {
namespace {

// The figure that is asked for, unless no row has it.
RankOrder OrderIn(const ResultGroup& group, RankOrder wanted) {
  const bool any = std::ranges::any_of(group.rows, [&](const auto& row) { return LossOf(row, wanted).has_value(); });
  return any ? wanted : group.order;
}

}  // namespace

std::vector<const ResultRow*> SortedRows(const ResultGroup& group, RankOrder wanted) {
  const RankOrder order = OrderIn(group, wanted);
  std::vector<const ResultRow*> rows;
  for (const ResultRow& row : group.rows) rows.push_back(&row);
  std::ranges::stable_sort(rows, [&](const ResultRow* a, const ResultRow* b) {
    if (PlaceOf(*a, order) != PlaceOf(*b, order)) return PlaceOf(*a, order) < PlaceOf(*b, order);
    return PlaceOf(*a, order) == 1 && *LossOf(*a, order) < *LossOf(*b, order);
  });
  return rows;
}

std::string SortedBy(const ResultGroup& group, RankOrder wanted) {
  const bool ranked = std::ranges::any_of(group.rows, [](const auto& row) { return row.rank.has_value(); });
  if (!ranked) return "";
  const RankOrder order = OrderIn(group, wanted);
  const auto name = [](RankOrder x) {
    return x == RankOrder::kDivergence ? "mean KL from the baseline" : "perplexity delta";
  };
  std::string why;
  if (group.order == RankOrder::kPerplexity) {
    why = group.any_kl() ? ": KL is not measured on every row in the same way" : ": KL is not measured";
  }
  if (order == group.order) return std::string("Sorted and ranked by ") + name(order) + ", least first" + why + ".";
  return std::string("Sorted by ") + name(order) + ", least first; ranked by " + name(group.order) + why + ".";
}

}  // namespace marlin
