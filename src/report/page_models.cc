// Section 2: every tested configuration of every model.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "report/figures.h"
#include "report/page_sections.h"
#include "report/timing_columns.h"

namespace marlin {
namespace {

std::string MarkedName(const ResultRow& row) { return row.name + MarksOf(row.record()); }

Table QualityTable(const ResultGroup& group, const TimingColumns& timings, const TimingColumns& kernels,
                   const PageOptions& options) {
  Table table;
  table.columns = {{"Rank"},       {"Config", Align::kLeft}, {"Type", Align::kLeft}, {"Group"},  {"Bits/weight"},
                   {"PPL base"},   {"PPL quant ± s.e."},     {"Delta % [95 %]"},     {kKlTitle}, {"Same top-1 %"},
                   {"Compression"}};
  AddSpeedColumns(timings, table);
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    table.columns.push_back({fmt::format("Layers GFLOP/s ({})", kernels.label(i))});
  }
  table.columns.push_back({"Record", Align::kLeft});
  for (const ResultRow* const sorted : SortedRows(group, options.sort)) {
    const ResultRow& row = *sorted;
    const Record& record = row.record();
    Cell name = MarkedName(row);
    name.strong = row.best;
    const bool has_base = row.base_perplexity && !row.is_baseline();
    std::vector<Cell> cells = {FigureRank(row),
                               name,
                               record.config.label,
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
    cells.push_back(RecordCell(*row.stored, options));
    table.Add(std::move(cells));
  }
  return table;
}

std::string HalfTitle(const ResultGroup& group) {
  for (const ResultRow& row : group.rows) {
    if (row.record().perplexity && row.record().perplexity->half) return row.record().perplexity->half->protocol;
  }
  return "PPL of half windows";
}

Table SizeTable(const ResultGroup& group, const PageOptions& options) {
  const std::string half_title = HalfTitle(group);
  Table table;
  table.columns = {{"Config", Align::kLeft},
                   {"All tensors MB"},
                   {"Quantized tensors MB"},
                   {"Quantized tensors ratio"},
                   {"Peak memory MB, measured"},
                   {half_title},
                   {"Bits/byte"},
                   {"Record", Align::kLeft}};
  for (const ResultRow* const sorted : SortedRows(group, options.sort)) {
    const ResultRow& row = *sorted;
    const Record& record = row.record();
    const bool quantized = record.size.quantized_parameters > 0;
    std::optional<PerplexityEstimate> half;
    if (record.perplexity && record.perplexity->half && record.perplexity->half->protocol == half_title) {
      half = PerplexityOf(*record.perplexity->half);
    }
    table.Add({MarkedName(row), FigureMegabytes(record.size.model_bytes),
               quantized ? FigureMegabytes(record.size.quantized_tensor_bytes) : "none",
               quantized ? FigureRatio(QuantizedCompression(record.size)) : "none",
               row.memory == nullptr ? kNotMeasured : FigureMegabytes(row.memory->record.size.peak_rss_decode_bytes),
               FigurePerplexity(half),
               record.perplexity ? FigureFixed(BitsPerByte(*record.perplexity), 4) : kNotMeasured,
               RecordCell(*row.stored, options)});
  }
  return table;
}

void AddTiming(Table& table, const TimedRow& row, const char* what, const std::optional<Speed>& speed,
               const PageOptions& options) {
  if (!speed) return;
  table.Add({MarkedName(*row.row), what, FigureSpeed(speed), FigureThreeDigits(speed->median_tok_s),
             FigureThreeDigits(speed->p5_tok_s), FigureThreeDigits(speed->p95_tok_s),
             FigureThreeDigits(speed->time_ns.mean / 1e6), FigureThreeDigits(speed->time_ns.mad / 1e6),
             fmt::format("{:.1f}", 100 * speed->time_ns.cv),
             fmt::format("{} of {}", speed->time_ns.removed, speed->time_ns.samples),
             RecordCell(*row.timing->stored, options)});
}

// One table per setting; empty when nothing was timed.
Document TimingTables(const ResultGroup& group, const TimingColumns& timings, const PageOptions& options) {
  Document out;
  for (std::size_t i = 0; i < timings.size(); ++i) {
    Table table;
    table.columns = {{"Config", Align::kLeft},
                     {"What", Align::kLeft},
                     {"Mean tok/s"},
                     {"Median"},
                     {"p5"},
                     {"p95"},
                     {"Mean ms"},
                     {"MAD ms"},
                     {"CV %"},
                     {"Removed"},
                     {"Record", Align::kLeft}};
    for (const TimedRow& row : timings.RowsIn(i, SortedRows(group, options.sort))) {
      AddTiming(table, row, "prefill", row.timing->prefill, options);
      AddTiming(table, row, "decode", row.timing->decode, options);
    }
    out.AddTable(std::move(table), timings.Describe(i));
  }
  return out;
}

// What was measured and how the table is sorted.
std::string GroupCaption(const ResultGroup& group, const PageOptions& options) {
  const record::Perplexity* measured = group.perplexity();
  std::string out = measured == nullptr ? "Perplexity is not measured for these rows." : DescribeText(*measured) + ".";
  if (measured != nullptr && measured->windows < kFewWindows) {
    out += fmt::format(" Few windows: with fewer than {}, the intervals themselves are uncertain.", kFewWindows);
  }
  if (const std::string order = SortedBy(group, options.sort); !order.empty()) out += " " + order;
  return out;
}

// The tables that the reader opens.
Document GroupFolds(const ResultGroup& group, const TimingColumns& timings, const PageOptions& options) {
  Document divergence;
  divergence.AddTable(
      DivergenceTable(group, options),
      "KL of single tokens in 1e-3 nats. Same top-1: tokens with the same most likely next token as the baseline. "
      "Probability change: of the correct token against the baseline, in percentage points.");
  Document sizes;
  sizes.AddTable(SizeTable(group, options),
                 "MB are 10^6 bytes, of tensors as written. Peak memory: resident bytes of a fresh process while it "
                 "decodes.");
  Document out;
  out.AddFold("Divergence in detail", std::move(divergence));
  out.AddFold("Sizes, memory and further measures of the same rows", std::move(sizes));
  out.AddFold("Timings in detail", TimingTables(group, timings, options));
  return out;
}

Document GroupBlocks(const ResultGroup& group, const PageOptions& options) {
  const TimingColumns timings(group.rows, &ResultRow::timings);
  const TimingColumns kernels(group.rows, &ResultRow::kernels);
  Document out;
  out.AddTable(QualityTable(group, timings, kernels, options), GroupCaption(group, options));
  out.Append(DivergenceNotes(group));
  for (const std::string& note : TimingNotes(group, timings)) out.AddText(note);
  for (const std::string& note : ArithmeticNotes(group)) out.AddText(note);
  out.AddText(ImportedNote(group));
  if (timings.size() == 0) {
    out.AddPieces({"Throughput is not measured; ", document::Code("metal-marlin bench comparison"), " measures it."});
  }
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

std::string DescribeText(const record::Perplexity& x) {
  const std::string windows = x.windows == x.windows_total
                                  ? fmt::format("all {} windows", x.windows)
                                  : fmt::format("first {} of {} windows", x.windows, x.windows_total);
  return fmt::format("{}, protocol {} v{}, {} of {} tokens", x.text.name, x.protocol, x.metric_version, windows, x.ctx);
}

Document ModelsSection(const Analysis& analysis, const PageOptions& options) {
  Document out;
  out.AddHeading(2, "2. Per-model detail");
  out.AddText(
      "The best row is in bold. The text above each table says how it is sorted. Bits per weight count codes, scales "
      "and zero points of the quantized tensors; compression counts the whole model. Layers GFLOP/s: the model's "
      "linear layers alone at 512 tokens.");
  for (const ModelResults& model : analysis.models) out.Append(ModelBlocks(model, options));
  return out;
}

}  // namespace marlin
