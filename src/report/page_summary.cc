// Section 1: the best configuration of each model.
#include <fmt/format.h>

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "records/ranking.h"
#include "report/figures.h"
#include "report/page_sections.h"
#include "report/timing_columns.h"

namespace marlin {
namespace {

struct SummaryEntry {
  const ModelResults* model;
  const ResultGroup* group;
};

// Empty when it has; else why, for the cell.
std::string WhyNoBest(const ResultGroup& group) {
  bool ranked = false;
  for (const ResultRow& row : group.rows) ranked = ranked || row.rank.has_value();
  return ranked ? fmt::format("none (no row's quantized tensors are {} times smaller)", kBestCompression)
                : fmt::format("{} (no row has a delta or KL)", kNotMeasured);
}

Table MakeTable(const std::vector<SummaryEntry>& entries, const TimingColumns& timings, const PageOptions& options) {
  Table table;
  table.columns = {{"Model", Align::kLeft},     {"Best config", Align::kLeft},
                   {"PPL delta % [95 %]"},      {kKlTitle},
                   {"Ranked by", Align::kLeft}, {"Compression"}};
  AddSpeedColumns(timings, table);
  table.columns.push_back({"Record", Align::kLeft});
  for (const SummaryEntry& entry : entries) {
    const ResultRow* best = entry.group->best();
    std::vector<Cell> cells = {entry.model->name};
    if (best == nullptr) {
      cells.push_back(WhyNoBest(*entry.group));
      while (cells.size() < table.columns.size()) cells.push_back("-");
      table.Add(std::move(cells));
      continue;
    }
    cells.push_back(best->name + MarksOf(best->record()));
    cells.push_back(FigureDelta(*best));
    cells.push_back(FigureKl(*best));
    cells.push_back(entry.group->order == RankOrder::kDivergence ? "KL" : "PPL delta");
    cells.push_back(FigureRatio(Compression(best->record().size)));
    AddSpeedCells(timings, *best, cells);
    cells.push_back(RecordCell(*best->stored, options));
    table.Add(std::move(cells));
  }
  return table;
}

}  // namespace

Document SummarySection(const Analysis& analysis, const PageOptions& options) {
  Document out;
  out.AddHeading(2, "1. Summary");
  // Only models whose numbers may share a column share a table.
  std::map<std::string, std::vector<SummaryEntry>> tables;
  for (const ModelResults& model : analysis.models) {
    for (const ResultGroup& group : model.groups) {
      if (group.perplexity() != nullptr) tables[CrossModelKey(*group.perplexity())].push_back({&model, &group});
    }
  }
  if (tables.empty()) {
    out.AddText("No perplexity is measured yet, so no configuration is the best.");
    return out;
  }
  for (const auto& [key, entries] : tables) {
    std::vector<const ResultRow*> best;
    for (const SummaryEntry& entry : entries) {
      if (entry.group->best() != nullptr) best.push_back(entry.group->best());
    }
    const TimingColumns timings(best, &ResultRow::timings);
    out.AddTable(MakeTable(entries, timings, options), DescribeText(*entries.front().group->perplexity()));
    for (std::size_t i = 0; i < timings.size(); ++i) out.AddText(LoadNote(timings.RowsIn(i, best)));
  }
  out.AddText(fmt::format(
      "Best: among rows whose quantized tensors are at least {} times smaller, the row with the least mean KL from the "
      "baseline (least perplexity delta where KL is not measured on every row). Among rows not distinguished from it, "
      "the smallest; then, among rows timed interleaved, the fastest in decode. Compression: FP16 bytes of the "
      "original / bytes of the quantized model, everything included.",
      kBestCompression));
  return out;
}

}  // namespace marlin
