// Groups records by model and by comparability, joins what was measured of one row (quality, noise floor, speeds), and
// ranks the rows. The page, the plots and the terminal output read from here.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/statistics.h"
#include "records/derive.h"
#include "records/record.h"
#include "records/store.h"

namespace marlin {

// What the ranks of a group follow: KL where every row has it, else perplexity (docs/decisions/0006).
enum class RankOrder { kPerplexity, kDivergence };

// How one thing was timed; record::TimingProtocol that can be compared.
struct TimingRounds {
  std::string protocol;
  std::uint64_t warmup = 0;
  std::uint64_t iterations = 0;
  double trim_sigma = 0;
  auto operator<=>(const TimingRounds&) const = default;
};

// Timings may share a column if all of this is equal.
struct TimingSetting {
  TimingRounds rounds;               // of prefill, of kernels
  TimingRounds decode;               // the same unless the record says otherwise
  std::uint64_t prefill_tokens = 0;  // 0 = none
  std::uint64_t decode_prompt = 0;
  std::string cpu;
  std::uint64_t threads = 0;
  std::string isa;
  std::string activations;  // "" = fp32
  std::string device;       // what computed, where it was not the processor
  auto operator<=>(const TimingSetting&) const = default;
};

// What was timed: "NVIDIA H200 ..." or "Intel ..., 2 threads".
std::string HardwareText(const TimingSetting& setting);

std::optional<TimingSetting> TimingOf(const Record& record);
std::optional<TimingSetting> KernelTimingOf(const Record& record);

// Bytes that decoding takes of the memory where the model is: the device's, where it has its own.
std::optional<std::uint64_t> PeakDecodeBytes(const Record& record);

// Speeds of a row in one setting.
struct RowTiming {
  const StoredRecord* stored = nullptr;
  TimingSetting setting;
  std::optional<Speed> prefill;
  std::optional<Speed> decode;

  const Record& record() const { return stored->record; }
};

struct ResultRow {
  const StoredRecord* stored = nullptr;  // of its quality; where that was not measured, of something else
  std::string name;  // display name and what sets the row apart: method, calibration, quantized embeddings
  std::optional<PerplexityEstimate> perplexity;
  std::optional<PerplexityEstimate> base_perplexity;
  std::optional<PairedDelta> delta;      // never for a baseline
  std::string why_no_delta;              // set when a row that is no baseline has no delta
  std::optional<MeanEstimate> kl;        // from the baseline, nats per token; never for a baseline
  std::optional<MeanEstimate> same_top;  // share of tokens with the baseline's most likely successor
  bool indistinguishable = false;        // kl is not above the noise floor of the group
  std::vector<RowTiming> timings;        // one per setting, the newest of each, newest first
  std::vector<RowTiming> kernels;        // the same of single kernels, without speeds
  const StoredRecord* memory = nullptr;  // newest record of its peak memory
  // The same quality by other arithmetics, the newest of each. Never in one table with this row.
  std::vector<const StoredRecord*> other_arithmetics;
  std::optional<std::size_t> rank;  // 1 = least by the group's order; shared with the row above unless told apart
  bool tied = false;                // another row has the same rank
  bool best = false;

  const Record& record() const { return stored->record; }
  bool is_baseline() const { return record().config.kind == record::Kind::kBaseline; }
  // Speeds in the newest setting, for plots and ranks; null when nothing was timed.
  const RowTiming* timing() const { return timings.empty() ? nullptr : timings.data(); }
  bool few() const { return record().perplexity && record().perplexity->windows < kFewWindows; }
};

// Rows whose perplexities may share a column: one model, protocol, text, tokenization and set of windows.
struct ResultGroup {
  std::vector<ResultRow> rows;  // baselines first, then by rank, then those without one
  RankOrder order = RankOrder::kPerplexity;
  std::vector<const StoredRecord*> floors;  // noise floors of its baselines; first that of the one that is shown

  // Of the first row; null when the group holds the rows without a perplexity.
  const record::Perplexity* perplexity() const;
  const ResultRow* best() const;
  const Record* noise_floor() const { return floors.empty() ? nullptr : &floors[0]->record; }
  bool any_kl() const;
};

struct ModelResults {
  std::string name;  // unique: a name that two files share is followed by a hash
  std::vector<ResultGroup> groups;

  const record::Model& model() const { return groups.front().rows.front().record().model; }
};

struct Analysis {
  std::vector<ModelResults> models;             // by name
  std::vector<const StoredRecord*> shown;       // that figures come from, in the order of the page
  std::vector<const StoredRecord*> superseded;  // newer records hold the same measurements
};

// The records must outlive the analysis. Their order makes no difference.
Analysis Analyze(std::span<const StoredRecord> records);

// "fp4-g128 + embeddings", "mixed 4.25 bits": what the row is, without method and calibration.
std::string ConfigName(const Record& record);

// Rows that share protocol, text and number of windows may be set side by side although the models differ.
std::string CrossModelKey(const record::Perplexity& measured);

}  // namespace marlin
