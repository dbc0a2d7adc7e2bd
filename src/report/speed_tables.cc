#include "report/speed_tables.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "report/figures.h"

namespace marlin {
namespace {

std::string ShareText(const std::optional<LimitShare>& limit) {
  return limit ? fmt::format("{:.0f} % of {}", 100 * limit->share, limit->limit) : kNotMeasured;
}

// Measured at another moment, limits may be a little lower than what they limit.
constexpr double kWhollyWithinLimit = 1.02;

// Of a ThroughputRow or a KernelSpeed.
template <class Row>
std::string Remark(const Row& row, bool in_cache = false) {
  std::vector<std::string> remarks;
  if (in_cache) remarks.emplace_back("in cache");
  if (row.unstable) remarks.emplace_back("unstable");
  if (row.busy) remarks.emplace_back("busy machine");
  if (row.limit && row.limit->share > kWhollyWithinLimit) remarks.emplace_back("above the limit that was measured");
  return fmt::format("{}", fmt::join(remarks, ", "));
}

std::string KernelRemark(const KernelSpeed& speed) {
  std::string remark = Remark(speed, speed.in_cache);
  if (speed.launched) remark += fmt::format("{}not replayed", remark.empty() ? "" : ", ");
  if (speed.reference_unstable) remark += fmt::format("{}{} unstable", remark.empty() ? "" : ", ", speed.reference);
  return remark;
}

std::string RateText(const ThroughputRow& row) {
  const std::string mean = FigureThreeDigits(row.mean_tok_s);
  return row.deviation_tok_s ? fmt::format("{} ± {}", mean, FigureThreeDigits(*row.deviation_tok_s)) : mean;
}

// What does not apply to a row is empty: it is not missing.
std::string Applicable(const std::optional<double>& x) { return x ? FigureThreeDigits(*x) : ""; }

std::string CsvField(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

template <class T>
std::string CsvNumber(const std::optional<T>& x) {
  return x ? fmt::format("{}", *x) : "";
}

}  // namespace

Table ThroughputTable(std::span<const ThroughputRow> rows) {
  Table table;
  table.columns = {{"model", Align::kLeft},
                   {"weights", Align::kLeft},
                   {"threads"},
                   {"test"},
                   {"tok/s"},
                   {"median"},
                   {"MB/token"},
                   {"GB/s"},
                   {"GFLOP/s"},
                   {"share of limit"},
                   {"remark", Align::kLeft},
                   {"kernels", Align::kLeft}};
  for (const ThroughputRow& row : rows) {
    table.Add({row.model, row.weights, fmt::format("{}", row.threads), row.test, RateText(row),
               FigureThreeDigits(row.median_tok_s), row.weight_bytes ? FigureMegabytes(row.weight_bytes) : "",
               Applicable(row.gbps), Applicable(row.gflops), ShareText(row.limit), Remark(row), row.kernels});
  }
  return table;
}

std::string ThroughputCsv(std::span<const ThroughputRow> rows) {
  std::string out =
      "model,path,weights,threads,test,mean_tok_s,deviation_tok_s,median_tok_s,weight_bytes_per_token,gbps,gflops,"
      "limit_share,limit,remark,kernels\n";
  for (const ThroughputRow& row : rows) {
    const std::vector<std::string> fields = {CsvField(row.model),
                                             CsvField(row.path),
                                             CsvField(row.weights),
                                             fmt::format("{}", row.threads),
                                             row.test,
                                             fmt::format("{}", row.mean_tok_s),
                                             CsvNumber(row.deviation_tok_s),
                                             fmt::format("{}", row.median_tok_s),
                                             CsvNumber(row.weight_bytes),
                                             CsvNumber(row.gbps),
                                             CsvNumber(row.gflops),
                                             row.limit ? fmt::format("{}", row.limit->share) : "",
                                             row.limit ? CsvField(row.limit->limit) : "",
                                             CsvField(Remark(row)),
                                             CsvField(row.kernels)};
    out += fmt::format("{}\n", fmt::join(fields, ","));
  }
  return out;
}

Table KernelSpeedTable(std::span<const KernelSpeed> speeds) {
  Table table;
  table.columns = {{"m"},    {"format", Align::kLeft}, {"kernel", Align::kLeft}, {"us"}, {"GFLOP/s"},
                   {"GB/s"}, {"share of limit"}};
  const auto named = std::ranges::find_if(speeds, [](const KernelSpeed& x) { return !x.reference.empty(); });
  const bool has_reference = named != speeds.end();
  if (has_reference) {
    table.columns.push_back({named->reference + " us"});
    table.columns.push_back({"times as fast"});
  }
  table.columns.push_back({"max error"});
  table.columns.push_back({"remark", Align::kLeft});
  for (const KernelSpeed& x : speeds) {
    std::vector<Cell> cells = {fmt::format("{}", x.m),
                               x.format,
                               x.kernel,
                               FigureThreeDigits(x.us),
                               FigureThreeDigits(x.gflops()),
                               FigureThreeDigits(x.gbps()),
                               ShareText(x.limit)};
    if (has_reference) {
      cells.emplace_back(x.reference_us ? FigureThreeDigits(*x.reference_us) : kNotMeasured);
      cells.emplace_back(FigureRatio(x.times_as_fast()));
    }
    cells.emplace_back(fmt::format("{:.1e}", x.max_error));
    cells.emplace_back(KernelRemark(x));
    table.Add(std::move(cells));
  }
  return table;
}

}  // namespace marlin
