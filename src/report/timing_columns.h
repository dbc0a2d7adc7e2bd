// Columns for timings: one per setting, so that numbers of two protocols or machines never share one.
#pragma once

#include <string>
#include <vector>

#include "records/analysis.h"
#include "report/table.h"

namespace marlin {

// A row and its speeds in one setting.
struct TimedRow {
  const ResultRow* row = nullptr;
  const RowTiming* timing = nullptr;
};

// The settings of some rows, as columns.
class TimingColumns {
 public:
  // Of throughput: &ResultRow::timings; of single kernels: &ResultRow::kernels.
  using Timings = std::vector<RowTiming> ResultRow::*;

  TimingColumns(const std::vector<const ResultRow*>& rows, Timings timings);
  TimingColumns(const std::vector<ResultRow>& rows, Timings timings);

  std::size_t size() const { return settings_.size(); }
  const std::vector<TimingSetting>& settings() const { return settings_; }

  // "15/100"; followed by a number when several settings go by that name.
  const std::string& label(std::size_t i) const { return labels_[i]; }  // of prefill, of kernels
  const std::string& decode_label(std::size_t i) const { return decode_labels_[i]; }
  // Both: "15/100"; "quick-2/8, decode quick-10/60" where they differ.
  std::string both_labels(std::size_t i) const;

  // What column i holds of a row; null when nothing.
  const RowTiming* Find(std::size_t i, const ResultRow& row) const;
  // The rows that column i holds something of, in the order given.
  std::vector<TimedRow> RowsIn(std::size_t i, const std::vector<const ResultRow*>& rows) const;

  // The settings that most rows were timed in: the one, or two of several. Their speeds are no detail.
  bool IsMain(std::size_t i) const;

  // One sentence for column i: what was timed, how often, where.
  std::string Describe(std::size_t i) const;

 private:
  Timings timings_;
  std::vector<TimingSetting> settings_;  // sorted
  std::vector<std::string> labels_;
  std::vector<std::string> decode_labels_;
  std::vector<std::size_t> rows_;  // timed in each
};

// Two columns per setting, prefill and decode; and the cells of a row below them. Decode of the main settings is no
// detail, and prefill of a single setting where there is room for it.
enum class PrefillColumn { kMain, kDetail };
void AddSpeedColumns(const TimingColumns& timings, PrefillColumn prefill, Table& table);
void AddSpeedCells(const TimingColumns& timings, const ResultRow& row, std::vector<Cell>& cells);

std::vector<const ResultRow*> AddressesOf(const std::vector<ResultRow>& rows);

}  // namespace marlin
