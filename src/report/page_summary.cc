// Section 1: the best configuration of each model.
#include <fmt/format.h>

#include <algorithm>
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
  table.columns = {
      {"Model", Align::kLeft}, {"Best config", Align::kLeft}, {"PPL delta % [95 %]"}, {kKlTitle}, {"Compression"}};
  AddSpeedColumns(timings, PrefillColumn::kMain, table);
  if (timings.size() == 0) table.columns.push_back({"Decode tok/s"});
  for (const SummaryEntry& entry : entries) {
    const ResultRow* best = entry.group->best();
    std::vector<Cell> cells;
    if (best == nullptr) {
      cells = {entry.model->name, WhyNoBest(*entry.group)};
      while (cells.size() < table.columns.size()) cells.push_back("-");
      table.Add(std::move(cells));
      continue;
    }
    // Both name the line: the model also where further columns follow.
    for (const std::string& name : {entry.model->name, MarkedName(*best)}) {
      cells.push_back(RecordCell(name, *best->stored, options));
    }
    cells.push_back(FigureDelta(*best));
    cells.push_back(FigureKl(*best));
    cells.push_back(FigureRatio(Compression(best->record().size)));
    AddSpeedCells(timings, *best, cells);
    if (timings.size() == 0) cells.push_back(kNotMeasured);
    table.Add(std::move(cells));
  }
  return table;
}

// Models whose numbers may share a column.
Document EntriesBlocks(const std::vector<SummaryEntry>& entries, const PageOptions& options) {
  std::vector<const ResultRow*> best;
  std::vector<std::string> sentences;
  for (const SummaryEntry& entry : entries) {
    sentences.push_back(ModelSentence(*entry.model, *entry.group));
    if (entry.group->best() != nullptr) best.push_back(entry.group->best());
  }
  const TimingColumns timings(best, &ResultRow::timings);
  Document out;
  const record::Perplexity& first = *entries.front().group->perplexity();
  const bool one_total = std::ranges::all_of(entries, [&](const SummaryEntry& entry) {
    return entry.group->perplexity()->windows_total == first.windows_total;
  });
  out.AddText(DescribeText(first, one_total) + ":");
  out.AddList(std::move(sentences));
  out.AddTable(MakeTable(entries, timings, options));
  for (std::size_t i = 0; i < timings.size(); ++i) {
    out.AddText(fmt::format("Speeds ({}): {}.", timings.both_labels(i), HardwareText(timings.settings()[i])));
    out.AddText(LoadNote(timings.RowsIn(i, best)));
  }
  return out;
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
  bool same_grid = false;
  for (const auto& [key, entries] : tables) {
    out.Append(EntriesBlocks(entries, options));
    for (const SummaryEntry& entry : entries) {
      const ResultRow* const best = entry.group->best();
      same_grid = same_grid || (best != nullptr && best->record().config.same_grid_as_source);
    }
  }
  if (same_grid) out.AddText("† same grid as source, which flatters the row: see the model's detail.");
  out.AddText("How the best row is chosen:");
  out.AddNumbered(
      {fmt::format(
           "Only rows whose quantized tensors are at least {} times smaller count. The whole model shrinks less "
           "where embeddings or other tensors stay in 16 bits.",
           kBestCompression),
       "The row with the least mean KL from the baseline wins, or with the least perplexity delta where KL "
       "is not measured on every row.",
       "Among rows not distinguished from it: the smallest; then, among rows timed interleaved, the fastest "
       "in decode."});
  out.AddText("Compression: FP16 bytes of the original / bytes of the quantized model, everything included.");
  return out;
}

}  // namespace marlin
