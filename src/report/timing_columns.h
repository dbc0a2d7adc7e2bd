// Columns for timings: one per setting, so that numbers of two protocols or machines never share one.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "records/analysis.h"
#include "report/table.h"

namespace marlin {

// The settings of some rows, as columns.
class TimingColumns {
 public:
  using SettingOf = std::optional<TimingSetting> (*)(const Record&);

  TimingColumns(const std::vector<const ResultRow*>& rows, SettingOf setting_of);
  TimingColumns(const std::vector<ResultRow>& rows, SettingOf setting_of);

  std::size_t size() const { return settings_.size(); }
  const std::vector<TimingSetting>& settings() const { return settings_; }

  // "15/100"; followed by a number when several settings go by that name.
  const std::string& label(std::size_t i) const { return labels_[i]; }  // of prefill, of kernels
  const std::string& decode_label(std::size_t i) const { return decode_labels_[i]; }
  // Both: "15/100"; "quick-2/8, decode quick-10/60" where they differ.
  std::string both_labels(std::size_t i) const;

  // Whether the row's timings belong into column i.
  bool Holds(std::size_t i, const ResultRow& row) const;

  // One sentence for column i: what was timed, how often, where.
  std::string Describe(std::size_t i) const;

 private:
  SettingOf setting_of_;
  std::vector<TimingSetting> settings_;  // sorted
  std::vector<std::string> labels_;
  std::vector<std::string> decode_labels_;
};

// Two columns per setting, prefill and decode; and the cells of a row below them.
void AddSpeedColumns(const TimingColumns& timings, Table& table);
void AddSpeedCells(const TimingColumns& timings, const ResultRow& row, std::vector<Cell>& cells);

}  // namespace marlin
