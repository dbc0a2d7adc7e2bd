#include "study/divergence_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace marlin {
namespace {

std::vector<std::uint64_t> ToCounts(const std::vector<double>& counts) {
  std::vector<std::uint64_t> whole;
  for (const double count : counts) whole.push_back(static_cast<std::uint64_t>(count));
  return whole;
}

std::string Protocol(const DivergenceResult& result) { return fmt::format("kl-{}", result.other.ctx); }

}  // namespace

record::Divergence DivergenceRecord(const DivergenceResult& result, const DivergenceSummary& summary,
                                    const std::string& baseline_id) {
  record::Divergence d;
  d.protocol = Protocol(result);
  d.metric_version = kDivergenceMetricVersion;
  d.baseline_id = baseline_id;
  d.windows = result.window_kl.size();
  d.scored_per_window = result.other.scored_per_window;
  d.window_kl = result.window_kl;
  d.window_same_top = ToCounts(result.window_same_top);
  d.window_change = result.window_change;
  d.window_change_squared = result.window_change_squared;
  d.kl_median = summary.median;
  d.kl_p90 = summary.p90;
  d.kl_p99 = summary.p99;
  d.kl_p999 = summary.p999;
  d.kl_max = summary.max;
  d.kl_histogram = {summary.histogram.low, summary.histogram.per_decade, summary.histogram.counts};
  return d;
}

record::NoiseFloor NoiseFloorRecord(const DivergenceResult& result, std::vector<std::string> kernels) {
  record::NoiseFloor floor;
  floor.protocol = Protocol(result);
  floor.metric_version = kDivergenceMetricVersion;
  floor.kernels = std::move(kernels);
  floor.windows = result.window_kl.size();
  floor.scored_per_window = result.other.scored_per_window;
  floor.window_kl = result.window_kl;
  floor.window_same_top = ToCounts(result.window_same_top);
  floor.kl_max = *std::max_element(result.token_kl.begin(), result.token_kl.end());
  return floor;
}

}  // namespace marlin
