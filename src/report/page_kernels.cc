// Section 2, folded: every timed kernel, as a share of the machine's limit.
#include <fmt/format.h>

#include <map>
#include <utility>
#include <vector>

#include "report/figures.h"
#include "report/page_sections.h"
#include "report/timing_columns.h"

namespace marlin {
namespace {

// Of what activations of this precision can be multiplied with.
std::optional<double> PeakOf(const Record& record, const record::Kernel& kernel) {
  if (!record.limits) return std::nullopt;
  if (!kernel.activations) return record.limits->fma_gflops;
  if (*kernel.activations == "int16") return record.limits->int16_gops;
  return *kernel.activations == "int8" ? record.limits->int8_gops : record.limits->bf16_gflops;
}

std::string Share(double value, std::optional<double> limit) {
  return limit ? fmt::format("{:.0f} %", 100 * value / *limit) : kNotMeasured;
}

void AddKernels(Table& table, const TimedRow& row, const PageOptions& options) {
  const Record& record = row.timing->record();
  std::optional<double> read_gbps;
  if (record.limits) read_gbps = record.limits->read_gbps;
  for (const record::Kernel& x : record.kernels->shapes) {
    const TimingSummary time = SummarizeTimings(x.samples_ns, record.kernels->protocol.trim_sigma);
    const double gflops = static_cast<double>(x.flops) / time.mean;
    const double gbps = static_cast<double>(x.bytes_moved) / time.mean;
    const std::string product = fmt::format("{}, {} {} x {} x {}", row.row->name, x.shape_set, x.m, x.n, x.k);
    table.Add({RecordCell(product, *row.timing->stored, options), x.kernel,
               FigureThreeDigits(time.mean / 1e3) + (time.unstable() ? " unstable" : ""), FigureThreeDigits(gflops),
               Share(gflops, PeakOf(record, x)), FigureThreeDigits(gbps),
               // Bytes that stay in the cache are not read from memory.
               x.in_cache ? "in cache" : Share(gbps, read_gbps),
               fmt::format("{:.1e} (limit {:.1e})", x.max_relative_error, x.tolerance)});
  }
}

}  // namespace

Document KernelTables(const ModelResults& model, const PageOptions& options) {
  std::vector<const ResultRow*> rows;
  for (const ResultGroup& group : model.groups) {
    for (const ResultRow& row : group.rows) rows.push_back(&row);
  }
  const TimingColumns settings(rows, &ResultRow::kernels);
  Document out;
  if (settings.size() == 0) return out;
  out.AddList(
      {"A product is m x n x k. \"model\" are the linear layers of this model at m = 1 and m = 512 tokens, \"page\" "
       "are "
       "six fixed shapes that every report shows.",
       "Shares are of the limits measured in the same run. A limit is the best of a few passes, so a share can exceed "
       "100 % if another program disturbed them.",
       "The smallest products at m = 1 mostly measure the time to wake the threads."});
  for (std::size_t i = 0; i < settings.size(); ++i) {
    Table table;
    table.columns = {{"Product", Align::kLeft},
                     {"Kernel", Align::kLeft, kDetail},
                     {"Time µs"},
                     {"GFLOP/s"},
                     {"of FMA peak"},
                     {"GB/s"},
                     {"of read bandwidth"},
                     {"Max error", Align::kRight, kDetail}};
    for (const TimedRow& row : settings.RowsIn(i, rows)) AddKernels(table, row, options);
    out.AddTable(std::move(table), settings.Describe(i));
  }
  return out;
}

}  // namespace marlin
