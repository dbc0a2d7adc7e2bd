// Figures derived from one record, or from a record and its baseline. Only this file computes the numbers of the page
// from raw windows, samples and bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/statistics.h"
#include "records/record.h"

namespace marlin {

struct Speed {
  double tok_s = 0;  // from the trimmed mean
  double median_tok_s = 0;
  double p5_tok_s = 0;  // the slow end: from the 95th percentile of the time
  double p95_tok_s = 0;
  TimingSummary time_ns;
  bool unstable() const { return time_ns.unstable(); }
};

PerplexityEstimate PerplexityOf(const record::Perplexity& measured);
PerplexityEstimate PerplexityOf(const record::HalfWindows& half);
double BitsPerByte(const record::Perplexity& measured);
// How decode was timed: its own protocol, else that of the whole.
const record::TimingProtocol& DecodeProtocol(const record::Throughput& measured);
// Equal for rows that were timed interleaved (the record has a throughput).
std::string TimingRun(const Record& record);
// The load around the timing when it was more than the program's own threads make: then other programs were running.
std::optional<double> ForeignLoad(const record::Machine& machine);
std::optional<Speed> PrefillSpeed(const Record& record);
std::optional<Speed> DecodeSpeed(const Record& record);

// How many times as fast `other` is as `base`, from the means of the samples without outliers.
struct SpeedRatio {
  double ratio = 0;
  // 1.96 standard errors of the logarithm; empty when one of the two is unstable or has a single sample. It knows the
  // noise inside a run, not that from run to run.
  std::optional<Interval> ratio_95;
  bool distinguished() const { return ratio_95.has_value() && !ratio_95->Contains(1); }
};
SpeedRatio RatioOf(const Speed& base, const Speed& other);

// FP16 bytes of the original / bytes of this model.
double Compression(const record::Size& size);
// The same over the quantized tensors alone, and what one of their weights costs; empty when nothing is quantized.
std::optional<double> QuantizedCompression(const record::Size& size);
std::optional<double> BitsPerWeight(const record::Size& size);

// GFLOP/s over the model's own layers at their largest m: all operations / all mean times. Timings in the cache are
// left out.
std::optional<double> LayerGflops(const Record& record);

// What decided the bits of a perplexity beside its inputs: backend, instruction set, rounding. Files of version 1 do
// not name it: it is put together from what they say. Empty without a perplexity.
std::string ArithmeticOf(const Record& record);

// Why the two cannot be paired, in words for the page; empty when they can: same model, text, tokenizer, protocol and
// windows.
std::string WhyNotPaired(const Record& base, const Record& other);

// Difference of two records that can be paired.
PairedDelta DeltaOf(const Record& base, const Record& other);

// What a record's divergence says per token: KL in nats, same top-1 as a share, the right token's probability.
MeanEstimate KlOf(const record::Divergence& measured);
MeanEstimate SameTopOf(const record::Divergence& measured);
struct ProbabilityChange {
  double mean = 0;
  double rms = 0;
};
ProbabilityChange ProbabilityChangeOf(const record::Divergence& measured);
// KL of a baseline to itself on other kernels, nats per token.
double KlOf(const record::NoiseFloor& floor);
// True when the row diverges no more than its baseline does from itself. False when one of the two was not measured.
bool Indistinguishable(const Record& base, const Record& other);

// Why KL of two rows cannot be paired, in words for the page; empty when it can.
std::string WhyKlNotPaired(const Record& a, const Record& b);
// KL of b minus KL of a, nats per token, on the same windows. The records can be paired.
MeanEstimate KlDifference(const Record& a, const Record& b);

// Figures of one record that need no resampling, which its file repeats for its human readers under "summary".
struct RecordSummary {
  std::optional<double> perplexity;
  std::optional<double> perplexity_half;
  std::optional<double> bits_per_byte;
  std::optional<double> kl;  // mean, nats per token
  std::optional<double> same_top_percent;
  std::optional<double> compression;
  std::optional<double> quantized_compression;
  std::optional<double> bits_per_weight;
  std::optional<double> prefill_tok_s;
  std::optional<double> decode_tok_s;
};

RecordSummary Summarize(const Record& record);

}  // namespace marlin
