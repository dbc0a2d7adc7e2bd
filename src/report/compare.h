// Compares two folders of records and tests the differences against limits. A gate for continuous integration.
#pragma once

#include <nlohmann/json.hpp>
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
  std::vector<std::string> exceeded;  // a sentence per limit
};

struct Comparison {
  std::vector<ComparedRow> rows;  // by model and name
  std::vector<std::string> only_a;
  std::vector<std::string> only_b;
  std::vector<std::string> without_figures;  // in both, but no figure of one can be set beside one of the other
  std::vector<std::string> untested;         // why limits do not cover all of A, a sentence each
  std::vector<std::string> partly_untested;  // rows that a limit was not held against, a sentence for each limit
  bool exceeded() const;
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

// Tables for the terminal, and the same as data.
std::string CompareText(const Comparison& comparison);
nlohmann::ordered_json CompareJson(const Comparison& comparison);

}  // namespace marlin
