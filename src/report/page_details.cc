// Section 2, folded below the rows of a model: divergence, sizes, timings.
#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "report/figures.h"
#include "report/page_sections.h"
#include "report/timing_columns.h"

namespace marlin {
namespace {

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
                   {"Quantized tensors MB"},
                   {"Quantized tensors ratio"},
                   {"Peak memory MB, measured"},
                   {half_title},
                   {"Bits/byte"}};
  for (const ResultRow* const sorted : SortedRows(group, options.sort)) {
    const ResultRow& row = *sorted;
    const Record& record = row.record();
    const bool quantized = record.size.quantized_parameters > 0;
    std::optional<PerplexityEstimate> half;
    if (record.perplexity && record.perplexity->half && record.perplexity->half->protocol == half_title) {
      half = PerplexityOf(*record.perplexity->half);
    }
    table.Add({RecordCell(MarkedName(row), *row.stored, options),
               quantized ? FigureMegabytes(record.size.quantized_tensor_bytes) : "none",
               quantized ? FigureRatio(QuantizedCompression(record.size)) : "none",
               row.memory == nullptr ? kNotMeasured : FigureMegabytes(PeakDecodeBytes(row.memory->record)),
               FigurePerplexity(half),
               record.perplexity ? FigureFixed(BitsPerByte(*record.perplexity), 4) : kNotMeasured});
  }
  return table;
}

Table TimingTable(const std::vector<TimedRow>& rows, std::optional<Speed> RowTiming::*what,
                  const PageOptions& options) {
  Table table;
  table.columns = {{"Config", Align::kLeft},
                   {"Mean tok/s"},
                   {"Median"},
                   {"p5"},
                   {"p95"},
                   {"CV %"},
                   {"Removed"},
                   {"Mean ms", Align::kRight, kDetail},
                   {"MAD ms", Align::kRight, kDetail}};
  for (const TimedRow& row : rows) {
    const std::optional<Speed>& speed = row.timing->*what;
    if (!speed) continue;
    table.Add({RecordCell(MarkedName(*row.row), *row.timing->stored, options), FigureSpeed(speed),
               FigureThreeDigits(speed->median_tok_s), FigureThreeDigits(speed->p5_tok_s),
               FigureThreeDigits(speed->p95_tok_s), fmt::format("{:.1f}", 100 * speed->time_ns.cv),
               fmt::format("{} of {}", speed->time_ns.removed, speed->time_ns.samples),
               FigureThreeDigits(speed->time_ns.mean / 1e6), FigureThreeDigits(speed->time_ns.mad / 1e6)});
  }
  return table;
}

// Two tables per setting; empty when nothing was timed.
Document TimingTables(const ResultGroup& group, const TimingColumns& timings, const PageOptions& options) {
  Document out;
  for (std::size_t i = 0; i < timings.size(); ++i) {
    const std::vector<TimedRow> rows = timings.RowsIn(i, SortedRows(group, options.sort));
    out.AddText(timings.Describe(i));
    out.AddTable(TimingTable(rows, &RowTiming::prefill, options), "Prefill:");
    out.AddTable(TimingTable(rows, &RowTiming::decode, options), "Decode:");
  }
  return out;
}

Document CommandsOfRows(const ResultGroup& group, const PageOptions& options) {
  Document out;
  if (!options.how_to_make) return out;
  for (const ResultRow* const row : SortedRows(group, options.sort)) {
    const std::vector<std::string> lines = options.how_to_make(row->record());
    if (lines.empty()) continue;
    out.AddText(MarkedName(*row) + ":");
    out.AddCode(lines);
  }
  if (!out.blocks.empty()) out.AddText("MODEL is the file or folder of the model, or ORG/MODEL.");
  return out;
}

}  // namespace

Document GroupFolds(const ResultGroup& group, const TimingColumns& timings, const PageOptions& options) {
  Document divergence;
  divergence.AddList({"KL of single tokens in 1e-3 nats.",
                      "Same top-1: tokens with the same most likely next token as the baseline.",
                      "Probability change: of the correct token against the baseline, in percentage points."});
  Table table = DivergenceTable(group, options);
  if (table.rows.empty()) divergence = {};
  divergence.AddTable(std::move(table));
  Document sizes;
  sizes.AddTable(SizeTable(group, options),
                 "MB are 10^6 bytes, of tensors as written. Peak memory: resident bytes of a fresh process while it "
                 "decodes.");
  Document out;
  out.AddFold("How to make these rows", CommandsOfRows(group, options));
  out.AddFold("Divergence in detail", std::move(divergence));
  out.AddFold("Sizes, memory and further measures of the same rows", std::move(sizes));
  out.AddFold("Timings in detail", TimingTables(group, timings, options));
  return out;
}

}  // namespace marlin
