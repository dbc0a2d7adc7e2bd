// Section 2: every tested configuration of every model.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "report/figures.h"
#include "report/page_sections.h"
#include "report/row_programs.h"
#include "report/timing_columns.h"

namespace marlin {
namespace {

Table QualityTable(const ResultGroup& group, const TimingColumns& timings, const TimingColumns& kernels,
                   const PageOptions& options) {
  Table table;
  table.columns = {{"Rank"},
                   {"Config", Align::kLeft},
                   {"Size MB"},
                   {"Type", Align::kLeft, kDetail},
                   {kRunsInTitle, Align::kLeft, kDetail},
                   {"Group", Align::kRight, kDetail},
                   {"Bits/weight", Align::kRight, kDetail},
                   {"PPL base", Align::kRight, kDetail},
                   {"PPL quant ± s.e.", Align::kRight, kDetail},
                   {"Delta % [95 %]"},
                   {kKlTitle},
                   {"Same top-1 %", Align::kRight, kDetail},
                   {"Compression"}};
  table.key = 1;
  AddSpeedColumns(timings, PrefillColumn::kDetail, table);
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    table.columns.push_back({fmt::format("Layers GFLOP/s ({})", kernels.label(i)), Align::kRight, kDetail});
  }
  for (const ResultRow* const sorted : SortedRows(group, options.sort)) {
    const ResultRow& row = *sorted;
    const Record& record = row.record();
    Cell name = RecordCell(MarkedName(row), *row.stored, options);
    name.strong = row.best;
    const bool has_base = row.base_perplexity && !row.is_baseline();
    const std::string programs = ProgramsOf(group, row);
    std::vector<Cell> cells = {FigureRank(row),
                               name,
                               FigureMegabytes(record.size.model_bytes),
                               record.config.label,
                               programs.empty() ? "-" : programs,
                               FigureGroup(record.config),
                               FigureBitsPerWeight(record),
                               has_base            ? FigureFixed(row.base_perplexity->perplexity, 3)
                               : row.is_baseline() ? "-"
                                                   : kNotMeasured,
                               FigurePerplexity(row.perplexity),
                               FigureDelta(row),
                               FigureKl(row),
                               row.is_baseline() ? "-" : FigureShare(row.same_top),
                               FigureRatio(Compression(record.size))};
    AddSpeedCells(timings, row, cells);
    for (std::size_t i = 0; i < kernels.size(); ++i) {
      const auto gflops = kernels.Find(i, row) == nullptr ? std::nullopt : LayerGflops(kernels.Find(i, row)->record());
      cells.push_back(gflops ? FigureThreeDigits(*gflops) : kNotMeasured);
    }
    table.Add(std::move(cells));
  }
  return table;
}

// What computed and what was timed.
std::string HardwareCaption(const ResultGroup& group, const TimingColumns& timings) {
  std::set<std::string> computed;
  for (const ResultRow& row : group.rows) {
    const record::Machine& machine = row.record().machine;
    if (row.perplexity) computed.insert(machine.device.value_or(machine.cpu));
  }
  const std::string computing = fmt::format("{}", fmt::join(computed, "; "));
  std::vector<std::string> timed;
  for (std::size_t i = 0; i < timings.size(); ++i) {
    timed.push_back(fmt::format("({}) on {}", timings.both_labels(i), HardwareText(timings.settings()[i])));
  }
  if (computed.empty() && timed.empty()) return "";
  if (computed.empty()) return fmt::format("Timed {}.", fmt::join(timed, "; "));
  if (timed.empty()) return fmt::format("Computed on {}.", computing);
  if (timed.size() == 1 && HardwareText(timings.settings()[0]) == computing) {
    return fmt::format("Computed and timed {}.", timed[0]);
  }
  return fmt::format("Computed on {}; timed {}.", computing, fmt::join(timed, "; "));
}

// What was measured, and how the table is sorted.
Document GroupCaption(const ResultGroup& group, const TimingColumns& timings, const PageOptions& options) {
  const record::Perplexity* measured = group.perplexity();
  Document out;
  out.AddText(measured == nullptr ? "Perplexity is not measured for these rows." : DescribeText(*measured) + ".");
  if (measured != nullptr && measured->windows < kFewWindows) {
    out.AddText(fmt::format("Few windows: with fewer than {}, the intervals themselves are uncertain.", kFewWindows));
  }
  out.AddText(HardwareCaption(group, timings));
  out.AddText(SortedBy(group, options.sort));
  return out;
}

Document GroupNotes(const ResultGroup& group, const TimingColumns& timings) {
  std::vector<std::string> notes = DivergenceNotes(group);
  for (std::vector<std::string>& more :
       std::vector{TimingNotes(group, timings), ArithmeticNotes(group), {ImportedNote(group)}}) {
    for (std::string& note : more) notes.push_back(std::move(note));
  }
  std::erase(notes, "");
  Document out;
  out.AddList(std::move(notes));
  return out;
}

Document GroupBlocks(const ResultGroup& group, const PageOptions& options) {
  const TimingColumns timings(group.rows, &ResultRow::timings);
  const TimingColumns kernels(group.rows, &ResultRow::kernels);
  Document out = GroupCaption(group, timings, options);
  out.AddTable(QualityTable(group, timings, kernels, options));
  out.AddText(BelowBaselineWarning(group));
  for (const std::string& warning : TimingWarnings(group, timings)) out.AddText(warning);
  if (timings.size() == 0) {
    out.AddPieces({"Throughput is not measured; ", document::Code("metal-marlin bench comparison"), " measures it."});
  }
  out.AddFold("Notes on these rows", GroupNotes(group, timings));
  out.Append(GroupFolds(group, timings, options));
  return out;
}

bool HasSameGrid(const ModelResults& model) {
  for (const ResultGroup& group : model.groups) {
    for (const ResultRow& row : group.rows) {
      if (row.record().config.same_grid_as_source) return true;
    }
  }
  return false;
}

// Everything that rows of the model leave out, in the order of the rows.
std::string AcceptedNames(const ModelResults& model) {
  std::vector<std::string> names;
  for (const ResultGroup& group : model.groups) {
    for (const ResultRow& row : group.rows) {
      for (const std::string& name : row.record().model.accepted_unknown.value_or(std::vector<std::string>())) {
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
      }
    }
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

// True when what the model was read from weighs less than any row: a source that is quantized already.
bool SourceIsSmallest(const ModelResults& model) {
  for (const ResultGroup& group : model.groups) {
    for (const ResultRow& row : group.rows) {
      if (row.record().size.model_bytes <= row.record().model.source_bytes) return false;
    }
  }
  return true;
}

Document ModelBlocks(const ModelResults& model, const PageOptions& options) {
  const record::Model& x = model.model();
  Document out;
  out.AddHeading(3, model.name);
  out.AddPieces(
      {fmt::format("{}, {} parameters, weights from a {} file ({}, {} MB of tensors), sha256 ", x.architecture,
                   FigureCount(x.parameters), x.source_type, x.container, FigureMegabytes(x.source_bytes)),
       document::Code(ShortHash(x.sha256)), "."});
  if (SourceIsSmallest(model)) {
    out.AddText(fmt::format(
        "The source's tensors ({} MB) are smaller than those of every row here. The rows compare formats with each "
        "other; none is a reason to replace the source.",
        FigureMegabytes(x.source_bytes)));
  }
  for (const ResultGroup& group : model.groups) out.Append(GroupBlocks(group, options));
  if (HasSameGrid(model)) {
    out.AddText(fmt::format(
        "† same grid as source: the weights come from a {} file and already lie on a similar grid, which flatters the "
        "row.",
        x.source_type));
  }
  if (const std::string names = AcceptedNames(model); !names.empty()) {
    out.AddText(fmt::format(
        "‡ measured without {}: the model's files hold it, the program does not know it, and --accept-unknown let it "
        "pass.",
        names));
  }
  out.AddFold("Kernels on the model's and the page's shapes", KernelTables(model, options));
  return out;
}

}  // namespace

std::string MarkedName(const ResultRow& row) { return row.name + MarksOf(row.record()); }

std::string DescribeText(const record::Perplexity& x, bool total_known) {
  const bool all = x.windows == x.windows_total;
  std::string windows = all ? fmt::format("all {} windows", x.windows)
                            : fmt::format("first {} of {} windows", x.windows, x.windows_total);
  if (!total_known) windows = all ? "all windows" : fmt::format("first {} windows", x.windows);
  return fmt::format("{}, protocol {} v{}, {} of {} tokens", x.text.name, x.protocol, x.metric_version, windows, x.ctx);
}

Document ModelsSection(const Analysis& analysis, const PageOptions& options) {
  Document out;
  out.AddHeading(2, "2. Per-model detail");
  std::vector<std::string> notes = {"The best row is in bold. The text above each table says how it is sorted.",
                                    "Compression counts the whole model.",
                                    "Bits per weight count codes, scales and zero points of the quantized tensors."};
  if (std::ranges::any_of(analysis.shown, [](const StoredRecord* x) { return x->record.kernels.has_value(); })) {
    notes.emplace_back("Layers GFLOP/s: the model's linear layers alone at 512 tokens.");
  }
  out.AddList(std::move(notes));
  for (const ModelResults& model : analysis.models) out.Append(ModelBlocks(model, options));
  return out;
}

}  // namespace marlin
