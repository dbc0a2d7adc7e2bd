#include "records/record_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "records/derive.h"
#include "records/record_ranges.h"

namespace marlin {
namespace {

// Nats per token beyond this are no measurement: their perplexity would leave the numbers.
constexpr double kMostNats = 700;

// Collects the first broken rule; later ones are not looked at.
class Rules {
 public:
  explicit Rules(std::string_view where, std::string_view remedy = "measure this row again")
      : where_(where), remedy_(remedy) {}

  void Want(bool holds, std::string_view field, const std::string& what) {
    if (holds || !status_.ok()) return;
    status_ = Error{ErrorCode::kInput, fmt::format("{}: field \"{}\" {}; {}", where_, field, what, remedy_)};
  }

  // The texts are made for the first value that fails alone: a thousand records have millions of values.
  template <typename Number, typename Holds, typename What>
  void WantEach(const std::vector<Number>& values, std::string_view field, const Holds& holds, const What& what) {
    const auto found = std::ranges::find_if_not(values, holds);
    if (found != values.end()) Want(false, fmt::format("{}[{}]", field, found - values.begin()), what(*found));
  }

  void WantSamples(const std::vector<double>& samples, std::string_view field) {
    Want(!samples.empty(), field, "is empty");
    WantEach(
        samples, field, [](double x) { return std::isfinite(x) && x > 0; },
        [](double x) { return fmt::format("is {}, a time above 0 was wanted", x); });
  }

  void WantWindows(const std::vector<double>& nll, std::uint64_t windows, std::uint64_t scored,
                   std::string_view field) {
    Want(nll.size() == windows, field, fmt::format("has {} values for {} windows", nll.size(), windows));
    WantEach(
        nll, field, [](double x) { return std::isfinite(x) && x >= 0; },
        [](double x) { return fmt::format("is {}, a sum of at least 0 nats was wanted", x); });
    WantEach(
        nll, field, [&](double x) { return x <= kMostNats * static_cast<double>(scored); },
        [&](double x) {
          return fmt::format("is {} nats for {} tokens, at most {} nats a token were wanted", x, scored, kMostNats);
        });
  }

  void WantSums(const std::vector<double>& sums, std::uint64_t windows, std::string_view field) {
    Want(sums.size() == windows, field, fmt::format("has {} values for {} windows", sums.size(), windows));
    WantEach(
        sums, field, [](double x) { return std::isfinite(x) && x >= 0; },
        [](double x) { return fmt::format("is {}, a sum of at least 0 was wanted", x); });
  }

  void WantTokens(const std::vector<std::uint64_t>& counts, std::uint64_t windows, std::uint64_t most,
                  std::string_view field) {
    Want(counts.size() == windows, field, fmt::format("has {} values for {} windows", counts.size(), windows));
    WantEach(
        counts, field, [&](std::uint64_t x) { return x <= most; },
        [&](std::uint64_t x) { return fmt::format("is {} of {} scored tokens", x, most); });
  }

  Status status() const { return status_; }

 private:
  std::string_view where_;
  std::string_view remedy_;
  Status status_;
};

bool IsHex(std::string_view text, std::size_t shortest, std::size_t longest) {
  return text.size() >= shortest && text.size() <= longest &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

void CheckIdentity(const Record& record, Rules& rules) {
  rules.Want(IsHex(record.id, 12, 64), "id", "is not 12 to 64 hexadecimal digits");
  rules.Want(!record.key.empty(), "key", "is empty");
  rules.Want(IsUtcTime(record.created), "created", "is not a time like 2025-01-31T23:59:59Z");
  rules.Want(!record.model.name.empty(), "model.name", "is empty");
  rules.Want(record.model.source_bytes > 0, "model.source_bytes", "is 0");
  rules.Want(record.model.parameters > 0, "model.parameters", "is 0");
  rules.Want(!record.config.id.empty(), "config.id", "is empty");
}

void CheckSize(const record::Size& size, Rules& rules) {
  rules.Want(size.fp16_bytes > 0, "size.fp16_bytes", "is 0");
  rules.Want(size.model_bytes > 0, "size.model_bytes", "is 0");
  rules.Want((size.quantized_parameters == 0) == (size.quantized_tensor_bytes == 0), "size.quantized_tensor_bytes",
             "and size.quantized_parameters contradict each other: one of them is 0");
  rules.Want(size.quantized_tensor_bytes <= size.model_bytes, "size.quantized_tensor_bytes",
             "is larger than size.model_bytes");
  rules.Want(!size.peak_rss_decode_bytes || *size.peak_rss_decode_bytes > 0, "size.peak_rss_decode_bytes", "is 0");
  rules.Want(!size.peak_device_decode_bytes || *size.peak_device_decode_bytes > 0, "size.peak_device_decode_bytes",
             "is 0");
}

void CheckSession(const record::Session& session, Rules& rules) {
  rules.Want(session.max_context > 0, "session.max_context", "is 0");
  rules.Want(session.cache_bytes_per_position > 0, "session.cache_bytes_per_position", "is 0");
  rules.Want(session.work_bytes_per_position > 0, "session.work_bytes_per_position", "is 0");
}

void CheckPlan(const record::Plan& plan, const record::Config& config, Rules& rules) {
  constexpr std::uint64_t kMostLayers = 10'000;
  rules.Want(config.kind == record::Kind::kMixed, "plan", "belongs to a configuration that is not mixed");
  rules.Want(!plan.units.empty(), "plan.units", "is empty");
  for (std::size_t i = 0; i < plan.units.size(); ++i) {
    const record::PlanUnit& unit = plan.units[i];
    const std::string field = fmt::format("plan.units[{}]", i);
    rules.Want(unit.layer < kMostLayers, field + ".layer", "is beyond any model");
    rules.Want(!unit.name.empty(), field + ".name", "is empty");
    rules.Want(!unit.format.empty(), field + ".format", "is empty");
    for (const auto& [name, kl] : {std::pair{".kl", unit.kl}, std::pair{".probe_kl", unit.probe_kl}}) {
      rules.Want(!kl || (std::isfinite(*kl) && *kl >= 0), field + name, "is not a divergence of at least 0");
    }
  }
}

void CheckPerplexity(const record::Perplexity& measured, Rules& rules) {
  rules.Want(measured.windows > 0, "perplexity.windows", "is 0");
  rules.Want(measured.windows <= measured.windows_total, "perplexity.windows", "is more than windows_total");
  rules.Want(measured.ctx > 1, "perplexity.ctx", "is below 2");
  rules.Want(measured.scored_per_window > 0 && measured.scored_per_window <= measured.ctx,
             "perplexity.scored_per_window", "is not in 1 .. ctx");
  rules.WantWindows(measured.window_nll, measured.windows, measured.scored_per_window, "perplexity.window_nll");
  // A division, not a product: the product of two hostile counts can overflow.
  rules.Want(
      measured.scored_per_window == 0 || (measured.scored_tokens % measured.scored_per_window == 0 &&
                                          measured.scored_tokens / measured.scored_per_window == measured.windows),
      "perplexity.scored_tokens", "is not windows x scored_per_window");
  rules.Want(measured.scored_bytes > 0, "perplexity.scored_bytes", "is 0");
  if (!measured.half) return;
  rules.Want(measured.half->scored_per_window > 0 && measured.half->scored_per_window <= measured.scored_per_window,
             "perplexity.half.scored_per_window", "is not in 1 .. scored_per_window");
  rules.WantWindows(measured.half->window_nll, measured.windows, measured.half->scored_per_window,
                    "perplexity.half.window_nll");
}

void CheckHistogram(const record::LogHistogram& histogram, std::uint64_t tokens, Rules& rules) {
  rules.Want(histogram.low > 0, "divergence.kl_histogram.low", "is not above 0");
  rules.Want(histogram.per_decade > 0, "divergence.kl_histogram.per_decade", "is 0");
  rules.Want(histogram.counts.size() >= 2, "divergence.kl_histogram.counts", "has fewer than 2 values");
  std::uint64_t missing = tokens;
  for (const std::uint64_t count : histogram.counts) {
    rules.Want(count <= missing, "divergence.kl_histogram.counts", "hold more than the scored tokens");
    missing -= std::min(count, missing);
  }
  rules.Want(missing == 0, "divergence.kl_histogram.counts", "hold fewer than the scored tokens");
}

void CheckDivergence(const record::Divergence& measured, const Record& record, Rules& rules) {
  rules.Want(record.perplexity.has_value(), "divergence", "has no perplexity of the same pass beside it");
  if (!record.perplexity) return;
  rules.Want(measured.windows == record.perplexity->windows, "divergence.windows", "is not perplexity.windows");
  rules.Want(measured.scored_per_window == record.perplexity->scored_per_window, "divergence.scored_per_window",
             "is not perplexity.scored_per_window");
  rules.WantSums(measured.window_kl, measured.windows, "divergence.window_kl");
  rules.WantTokens(measured.window_same_top, measured.windows, measured.scored_per_window,
                   "divergence.window_same_top");
  rules.Want(measured.window_change.size() == measured.windows, "divergence.window_change",
             fmt::format("has {} values for {} windows", measured.window_change.size(), measured.windows));
  rules.WantSums(measured.window_change_squared, measured.windows, "divergence.window_change_squared");
  // Every token's probability changes by at most 1.
  const double most_change = 1.001 * static_cast<double>(measured.scored_per_window);
  const auto of_tokens = [&](double x) { return fmt::format("is {} for {} tokens", x, measured.scored_per_window); };
  rules.WantEach(
      measured.window_change, "divergence.window_change", [&](double x) { return std::abs(x) <= most_change; },
      of_tokens);
  rules.WantEach(
      measured.window_change_squared, "divergence.window_change_squared", [&](double x) { return x <= most_change; },
      of_tokens);
  rules.Want(measured.kl_median >= 0 && measured.kl_median <= measured.kl_p90 && measured.kl_p90 <= measured.kl_p99 &&
                 measured.kl_p99 <= measured.kl_p999 && measured.kl_p999 <= measured.kl_max,
             "divergence.kl_median", "and the percentiles after it do not rise from 0");
  CheckHistogram(measured.kl_histogram, record.perplexity->scored_tokens, rules);
}

void CheckNoiseFloor(const record::NoiseFloor& floor, Rules& rules) {
  rules.Want(floor.kernels.size() == 2, "noise_floor.kernels", "does not name two");
  rules.Want(floor.windows > 0, "noise_floor.windows", "is 0");
  rules.Want(floor.scored_per_window > 0, "noise_floor.scored_per_window", "is 0");
  rules.WantSums(floor.window_kl, floor.windows, "noise_floor.window_kl");
  rules.WantTokens(floor.window_same_top, floor.windows, floor.scored_per_window, "noise_floor.window_same_top");
}

void CheckProtocol(const record::TimingProtocol& protocol, const std::string& field, Rules& rules) {
  rules.Want(!protocol.id.empty(), field + ".id", "is empty");
  rules.Want(protocol.trim_sigma > 0, field + ".trim_sigma", "is not above 0");
}

void CheckThroughput(const record::Throughput& measured, Rules& rules) {
  CheckProtocol(measured.protocol, "throughput.protocol", rules);
  rules.Want(!measured.run || !measured.run->empty(), "throughput.run", "is empty");
  if (measured.prefill) {
    rules.Want(measured.prefill->tokens > 0, "throughput.prefill.tokens", "is 0");
    rules.WantSamples(measured.prefill->samples_ns, "throughput.prefill.samples_ns");
    rules.Want(measured.prefill->samples_ns.size() == measured.protocol.iterations, "throughput.prefill.samples_ns",
               "does not have one value per iteration of the protocol");
  }
  if (measured.decode) {
    const record::TimingProtocol& protocol = DecodeProtocol(measured);
    CheckProtocol(protocol, "throughput.decode.protocol", rules);
    rules.WantSamples(measured.decode->samples_ns, "throughput.decode.samples_ns");
    rules.Want(measured.decode->samples_ns.size() == protocol.iterations, "throughput.decode.samples_ns",
               "does not have one value per iteration of the protocol");
  }
}

void CheckKernels(const record::Kernels& measured, Rules& rules) {
  CheckProtocol(measured.protocol, "kernels.protocol", rules);
  for (std::size_t i = 0; i < measured.shapes.size(); ++i) {
    const record::Kernel& kernel = measured.shapes[i];
    const std::string field = fmt::format("kernels.shapes[{}]", i);
    rules.WantSamples(kernel.samples_ns, field + ".samples_ns");
    rules.Want(kernel.flops > 0, field + ".flops", "is 0");
    rules.Want(kernel.bytes_moved > 0, field + ".bytes_moved", "is 0");
    rules.Want(kernel.checked_outputs > 0, field + ".checked_outputs", "is 0: the kernel was not checked");
    rules.Want(kernel.max_relative_error >= 0 && kernel.max_relative_error <= kernel.tolerance,
               field + ".max_relative_error", "is above the tolerance");
  }
}

void CheckMeasurement(const external::Measurement& measured, const std::string& field, Rules& rules) {
  rules.Want(!measured.what.empty(), field + ".what", "is empty");
  rules.Want(!measured.protocol.empty(), field + ".protocol", "is empty");
  rules.Want(measured.error.has_value() == measured.error_kind.has_value(), field + ".error",
             "and error_kind contradict each other: only one of them is there");
  rules.Want(!measured.error_kind || !measured.error_kind->empty(), field + ".error_kind", "is empty");
  rules.Want(!measured.samples || !measured.samples->empty(), field + ".samples", "is empty");
}

}  // namespace

bool IsUtcTime(std::string_view text) {
  constexpr std::string_view kShape = "0000-00-00T00:00:00Z";
  return text.size() == kShape.size() && std::equal(text.begin(), text.end(), kShape.begin(), [](char c, char shape) {
           return shape == '0' ? c >= '0' && c <= '9' : c == shape;
         });
}

Status CheckRecord(const Record& record, std::string_view where) {
  Rules rules(where);
  CheckIdentity(record, rules);
  CheckSize(record.size, rules);
  if (record.session) CheckSession(*record.session, rules);
  if (record.plan) CheckPlan(*record.plan, record.config, rules);
  if (record.perplexity) CheckPerplexity(*record.perplexity, rules);
  if (record.divergence) CheckDivergence(*record.divergence, record, rules);
  if (record.noise_floor) CheckNoiseFloor(*record.noise_floor, rules);
  if (record.throughput) CheckThroughput(*record.throughput, rules);
  if (record.kernels) CheckKernels(*record.kernels, rules);
  if (record.limits) {
    rules.Want(record.limits->read_gbps > 0, "limits.read_gbps", "is not above 0");
    rules.Want(record.limits->fma_gflops > 0, "limits.fma_gflops", "is not above 0");
  }
  if (const auto outside = FirstOutOfRange(record)) rules.Want(false, outside->field, outside->what);
  return rules.status();
}

Status CheckRecord(const ExternalRecord& record, std::string_view where) {
  Rules rules(where, "import the file again");
  rules.Want(IsHex(record.id, 12, 64), "id", "is not 12 to 64 hexadecimal digits");
  rules.Want(!record.key.empty(), "key", "is empty");
  rules.Want(!record.measured || IsUtcTime(*record.measured), "measured", "is not a time like 2025-01-31T23:59:59Z");
  rules.Want(!record.program.name.empty(), "program.name", "is empty");
  rules.Want(!record.source.file.empty(), "source.file", "is empty");
  rules.Want(IsHex(record.source.sha256, 64, 64), "source.sha256", "is not 64 hexadecimal digits");
  rules.Want(!record.model.name.empty(), "model.name", "is empty");
  rules.Want(!record.measurements.empty(), "measurements", "is empty");
  rules.Want(
      record.measurements.size() <= kMostExternalMeasurements, "measurements",
      fmt::format("has {} values, at most {} were wanted", record.measurements.size(), kMostExternalMeasurements));
  for (std::size_t i = 0; i < record.measurements.size(); ++i) {
    CheckMeasurement(record.measurements[i], fmt::format("measurements[{}]", i), rules);
  }
  if (const auto outside = FirstOutOfRange(record)) rules.Want(false, outside->field, outside->what);
  return rules.status();
}

}  // namespace marlin
