// Compares two folders of records and tests the differences against limits, as data. A gate for continuous integration;
// report/compare_text.h says it in words.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/statistics.h"
#include "records/store.h"

namespace marlin {

// How much worse B may be than A; empty = no limit.
struct CompareLimits {
  std::optional<double> ppl_delta_percent;  // perplexity of B over that of A, minus 1
  std::optional<double> kl_nats;            // mean KL of B minus that of A, per token
  std::optional<double> slowdown_percent;   // time per token of B over that of A, minus 1; prefill and decode each
  bool any() const { return ppl_delta_percent || kl_nats || slowdown_percent; }
};

// The difference of B from A in one measure. Without an interval it is shown but not tested against a limit.
struct Change {
  double a = 0;
  double b = 0;
  double change = 0;  // in the unit of the limit
  std::optional<Interval> change_95;
  std::string why_no_interval;
};

struct ComparedMeasure;

// One configuration that both folders hold.
struct ComparedRow {
  std::string model;
  std::string name;  // configuration, method, calibration
  std::string text;  // and protocol; empty when neither has a perplexity
  std::string id_a;  // of the records
  std::string id_b;
  bool is_baseline = false;
  std::optional<Change> perplexity;  // percent
  std::optional<Change> kl;          // nats; never of a baseline
  std::optional<Change> prefill;     // percent of time
  std::optional<Change> decode;
  std::vector<const ComparedMeasure*> exceeded;  // whose limits
};

// What is compared, and the limit on it.
struct ComparedMeasure {
  const char* name;
  std::optional<Change> ComparedRow::*change;
  std::optional<double> CompareLimits::*limit;
};

inline constexpr ComparedMeasure kComparedMeasures[] = {
    {"perplexity", &ComparedRow::perplexity, &CompareLimits::ppl_delta_percent},
    {"mean KL", &ComparedRow::kl, &CompareLimits::kl_nats},
    {"time of prefill", &ComparedRow::prefill, &CompareLimits::slowdown_percent},
    {"time of decode", &ComparedRow::decode, &CompareLimits::slowdown_percent},
};

// A limit that some rows were held against and others, which have no interval, were not.
struct PartlyTested {
  const ComparedMeasure* measure;
  std::size_t rows = 0;  // with a change, tested or not
  std::vector<std::string> without_interval;
};

struct Comparison {
  CompareLimits limits;
  std::vector<ComparedRow> rows;  // by model and name
  std::vector<std::string> only_a;
  std::vector<std::string> only_b;
  std::vector<std::string> without_figures;      // in both, but no figure of one can be set beside one of the other
  std::vector<const ComparedMeasure*> untested;  // with a limit that no row was held against
  std::vector<PartlyTested> partly_tested;

  bool exceeded() const;
  bool lacks_rows() const { return limits.any() && !only_a.empty(); }  // limits do not cover all of A
};

// Matches rows by model (hash), configuration, method, calibration, protocol and text; of several alike the newest
// counts.
//
// Perplexity and KL: paired over the windows where both have the same ones; the interval is that of the bootstrap.
// Speed: mean of the samples without outliers, compared only under one timing setting; the interval is 1.96 standard
// errors of the logarithm of the ratio, and an unstable timing has none.
// A limit is exceeded when the low end of the 95 % interval lies above it, so that a true difference as large as the
// limit fails by chance once in forty comparisons. The interval of a speed knows the noise inside a run, not that from
// run to run.
Comparison CompareRecords(std::span<const StoredRecord> a, std::span<const StoredRecord> b,
                          const CompareLimits& limits);

// How many of the rows in both folders were tested in one measure, and why the others were not.
struct TestedRows {
  std::size_t rows = 0;
  std::size_t no_interval = 0;
  std::size_t not_measured = 0;  // in one of the folders, or not in the same way
  std::size_t all() const { return rows + no_interval + not_measured; }
};
TestedRows CountTested(const Comparison& comparison, const ComparedMeasure& measure);

}  // namespace marlin
