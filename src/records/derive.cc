#include "records/derive.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace marlin {
namespace {

std::vector<double> Counts(std::uint64_t scored_per_window, std::size_t windows) {
  return std::vector<double>(windows, static_cast<double>(scored_per_window));
}

PerplexityEstimate Estimate(const std::vector<double>& nll, std::uint64_t scored_per_window) {
  return EstimatePerplexity({nll, Counts(scored_per_window, nll.size())});
}

Speed SpeedOf(const std::vector<double>& samples_ns, std::uint64_t tokens, double sigma) {
  Speed speed;
  speed.time_ns = SummarizeTimings(samples_ns, sigma);
  const double token_ns = 1e9 * static_cast<double>(tokens);
  speed.tok_s = token_ns / speed.time_ns.mean;
  speed.median_tok_s = token_ns / speed.time_ns.median;
  speed.p5_tok_s = token_ns / speed.time_ns.p95;
  speed.p95_tok_s = token_ns / speed.time_ns.p5;
  return speed;
}

MeanEstimate Mean(const std::vector<double>& sums, std::uint64_t scored_per_window) {
  return EstimateMean(sums, Counts(scored_per_window, sums.size()));
}

// The mean over all tokens of what windows hold sums of.
template <class T>
double PerToken(const std::vector<T>& sums, std::uint64_t scored_per_window) {
  const double tokens = static_cast<double>(scored_per_window) * static_cast<double>(sums.size());
  return std::accumulate(sums.begin(), sums.end(), 0.0) / tokens;
}

double Ratio(std::uint64_t a, std::uint64_t b) { return static_cast<double>(a) / static_cast<double>(b); }

}  // namespace

PerplexityEstimate PerplexityOf(const record::Perplexity& measured) {
  return Estimate(measured.window_nll, measured.scored_per_window);
}

PerplexityEstimate PerplexityOf(const record::HalfWindows& half) {
  return Estimate(half.window_nll, half.scored_per_window);
}

double BitsPerByte(const record::Perplexity& measured) {
  const double nats = std::accumulate(measured.window_nll.begin(), measured.window_nll.end(), 0.0);
  return nats / std::numbers::ln2 / static_cast<double>(measured.scored_bytes);
}

const record::TimingProtocol& DecodeProtocol(const record::Throughput& measured) {
  return measured.decode && measured.decode->protocol ? *measured.decode->protocol : measured.protocol;
}

std::string TimingRun(const Record& record) {
  const record::Throughput& timed = *record.throughput;
  if (!timed.interleaved) return "alone " + record.id;
  if (timed.run) return "run " + *timed.run;
  // Rows that were timed interleaved have the same machine state before and after.
  const record::Machine& x = record.machine;
  return fmt::format("{} {} {} {} {}", x.load_before.value_or(-1), x.load_after.value_or(-1),
                     x.clock_mhz_before.value_or(-1), x.clock_mhz_after.value_or(-1), record.command);
}

std::optional<double> ForeignLoad(const record::Machine& machine) {
  const double load = std::max(machine.load_before.value_or(0), machine.load_after.value_or(0));
  return load < static_cast<double>(machine.threads) + 0.5 ? std::nullopt : std::optional(load);
}

std::optional<Speed> PrefillSpeed(const Record& record) {
  if (!record.throughput || !record.throughput->prefill) return std::nullopt;
  const record::Prefill& prefill = *record.throughput->prefill;
  return SpeedOf(prefill.samples_ns, prefill.tokens, record.throughput->protocol.trim_sigma);
}

std::optional<Speed> DecodeSpeed(const Record& record) {
  if (!record.throughput || !record.throughput->decode) return std::nullopt;
  return SpeedOf(record.throughput->decode->samples_ns, 1, DecodeProtocol(*record.throughput).trim_sigma);
}

SpeedRatio RatioOf(const Speed& base, const Speed& other) {
  SpeedRatio x{other.tok_s / base.tok_s, std::nullopt};
  const auto kept = [](const Speed& y) { return y.time_ns.samples - y.time_ns.removed; };
  if (base.unstable() || other.unstable() || kept(base) < 2 || kept(other) < 2) return x;
  const auto variance = [&](const Speed& y) {  // of the logarithm of the mean
    return y.time_ns.cv * y.time_ns.cv / static_cast<double>(kept(y));
  };
  constexpr double kNormal95 = 1.96;
  const double factor = std::exp(kNormal95 * std::sqrt(variance(base) + variance(other)));
  x.ratio_95 = Interval{x.ratio / factor, x.ratio * factor};
  return x;
}

double Compression(const record::Size& size) { return Ratio(size.fp16_bytes, size.model_bytes); }

std::optional<double> QuantizedCompression(const record::Size& size) {
  if (size.quantized_parameters == 0) return std::nullopt;
  return Ratio(2 * size.quantized_parameters, size.quantized_tensor_bytes);
}

std::optional<double> BitsPerWeight(const record::Size& size) {
  if (size.quantized_parameters == 0) return std::nullopt;
  return 8 * Ratio(size.quantized_tensor_bytes, size.quantized_parameters);
}

std::optional<double> LayerGflops(const Record& record) {
  if (!record.kernels) return std::nullopt;
  const auto counts = [](const record::Kernel& kernel) { return kernel.shape_set == "model" && !kernel.in_cache; };
  std::uint64_t largest = 0;
  for (const record::Kernel& kernel : record.kernels->shapes) {
    if (counts(kernel)) largest = std::max(largest, kernel.m);
  }
  double flops = 0;
  double time_ns = 0;
  for (const record::Kernel& kernel : record.kernels->shapes) {
    if (!counts(kernel) || kernel.m != largest) continue;
    flops += static_cast<double>(kernel.flops);
    time_ns += SummarizeTimings(kernel.samples_ns, record.kernels->protocol.trim_sigma).mean;
  }
  if (time_ns == 0) return std::nullopt;
  return flops / time_ns;
}

std::string ArithmeticOf(const Record& record) {
  if (!record.perplexity) return "";
  if (record.perplexity->arithmetic) return *record.perplexity->arithmetic;
  const record::Machine& machine = record.machine;
  return fmt::format("{}/{}/{}", record.perplexity->backend, machine.isa, machine.activations.value_or("fp32"));
}

std::string WhyNotPaired(const Record& base, const Record& other) {
  if (!base.perplexity) return "the baseline has no perplexity";
  if (!other.perplexity) return "no perplexity";
  const record::Perplexity& a = *base.perplexity;
  const record::Perplexity& b = *other.perplexity;
  if (base.model.sha256 != other.model.sha256) return "the baseline is of another model file";
  if (a.protocol != b.protocol || a.metric_version != b.metric_version || a.ctx != b.ctx) {
    return fmt::format("the baseline was measured by {} v{}", a.protocol, a.metric_version);
  }
  if (a.text.sha256 != b.text.sha256) return "the baseline was measured on another text";
  if (a.tokenizer_sha256 != b.tokenizer_sha256 || a.bos != b.bos) return "the baseline was tokenized differently";
  if (a.windows != b.windows || a.scored_per_window != b.scored_per_window) {
    return fmt::format("the baseline has {} windows, not {}", a.windows, b.windows);
  }
  return "";
}

PairedDelta DeltaOf(const Record& base, const Record& other) {
  MARLIN_CHECK(WhyNotPaired(base, other).empty(), "the records have the same windows");
  const std::vector<double> tokens = Counts(base.perplexity->scored_per_window, base.perplexity->window_nll.size());
  return EstimatePairedDelta({base.perplexity->window_nll, tokens}, {other.perplexity->window_nll, tokens});
}

MeanEstimate KlOf(const record::Divergence& measured) { return Mean(measured.window_kl, measured.scored_per_window); }

MeanEstimate SameTopOf(const record::Divergence& measured) {
  return Mean({measured.window_same_top.begin(), measured.window_same_top.end()}, measured.scored_per_window);
}

ProbabilityChange ProbabilityChangeOf(const record::Divergence& measured) {
  return {PerToken(measured.window_change, measured.scored_per_window),
          std::sqrt(PerToken(measured.window_change_squared, measured.scored_per_window))};
}

double KlOf(const record::NoiseFloor& floor) { return PerToken(floor.window_kl, floor.scored_per_window); }

bool Indistinguishable(const Record& base, const Record& other) {
  return base.noise_floor && other.divergence &&
         PerToken(other.divergence->window_kl, other.divergence->scored_per_window) <= KlOf(*base.noise_floor);
}

std::string WhyKlNotPaired(const Record& a, const Record& b) {
  if (!a.divergence || !b.divergence) return "divergence not measured";
  if (a.divergence->protocol != b.divergence->protocol ||
      a.divergence->metric_version != b.divergence->metric_version) {
    return fmt::format("the other divergence was measured by {} v{}", a.divergence->protocol,
                       a.divergence->metric_version);
  }
  return WhyNotPaired(a, b);
}

MeanEstimate KlDifference(const Record& a, const Record& b) {
  MARLIN_CHECK(WhyKlNotPaired(a, b).empty(), "the records have the same windows");
  std::vector<double> difference = b.divergence->window_kl;
  for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= a.divergence->window_kl[i];
  return Mean(difference, a.divergence->scored_per_window);
}

RecordSummary Summarize(const Record& record) {
  RecordSummary summary;
  summary.compression = Compression(record.size);
  summary.quantized_compression = QuantizedCompression(record.size);
  summary.bits_per_weight = BitsPerWeight(record.size);
  if (const auto speed = PrefillSpeed(record)) summary.prefill_tok_s = speed->tok_s;
  if (const auto speed = DecodeSpeed(record)) summary.decode_tok_s = speed->tok_s;
  if (const auto& measured = record.perplexity) {
    summary.perplexity = std::exp(PerToken(measured->window_nll, measured->scored_per_window));
    summary.bits_per_byte = BitsPerByte(*measured);
    if (const auto& half = measured->half) {
      summary.perplexity_half = std::exp(PerToken(half->window_nll, half->scored_per_window));
    }
  }
  if (const auto& measured = record.divergence) {
    summary.kl = PerToken(measured->window_kl, measured->scored_per_window);
    summary.same_top_percent = 100 * PerToken(measured->window_same_top, measured->scored_per_window);
  }
  return summary;
}

}  // namespace marlin
