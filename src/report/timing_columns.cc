#include "report/timing_columns.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "report/figures.h"

namespace marlin {

std::vector<const ResultRow*> AddressesOf(const std::vector<ResultRow>& rows) {
  std::vector<const ResultRow*> addresses;
  for (const ResultRow& row : rows) addresses.push_back(&row);
  return addresses;
}

TimingColumns::TimingColumns(const std::vector<ResultRow>& rows, Timings timings)
    : TimingColumns(AddressesOf(rows), timings) {}

TimingColumns::TimingColumns(const std::vector<const ResultRow*>& rows, Timings timings) : timings_(timings) {
  std::set<TimingSetting> settings;
  for (const ResultRow* row : rows) {
    for (const RowTiming& timing : row->*timings) settings.insert(timing.setting);
  }
  settings_.assign(settings.begin(), settings.end());
  const auto add_label = [&](std::vector<std::string>& labels, std::size_t i, TimingRounds TimingSetting::*rounds) {
    const std::string& name = (settings_[i].*rounds).protocol;
    const auto same_name = [&](const TimingSetting& x) { return (x.*rounds).protocol == name; };
    const bool alone = std::count_if(settings_.begin(), settings_.end(), same_name) == 1;
    labels.push_back(alone ? name : fmt::format("{}, setting {}", name, i + 1));
  };
  for (std::size_t i = 0; i < settings_.size(); ++i) {
    add_label(labels_, i, &TimingSetting::rounds);
    add_label(decode_labels_, i, &TimingSetting::decode);
    rows_.push_back(RowsIn(i, rows).size());
  }
}

bool TimingColumns::IsMain(std::size_t i) const {
  constexpr std::ptrdiff_t kMain = 2;
  std::ptrdiff_t before = 0;
  for (std::size_t j = 0; j < size(); ++j) before += rows_[j] > rows_[i] || (rows_[j] == rows_[i] && j < i) ? 1 : 0;
  return before < kMain;
}

std::string TimingColumns::both_labels(std::size_t i) const {
  return labels_[i] == decode_labels_[i] ? labels_[i] : fmt::format("{}, decode {}", labels_[i], decode_labels_[i]);
}

const RowTiming* TimingColumns::Find(std::size_t i, const ResultRow& row) const {
  const auto found = std::ranges::find(row.*timings_, settings_[i], &RowTiming::setting);
  return found == (row.*timings_).end() ? nullptr : &*found;
}

std::vector<TimedRow> TimingColumns::RowsIn(std::size_t i, const std::vector<const ResultRow*>& rows) const {
  std::vector<TimedRow> timed;
  for (const ResultRow* row : rows) {
    if (const RowTiming* timing = Find(i, *row)) timed.push_back({row, timing});
  }
  return timed;
}

std::string TimingColumns::Describe(std::size_t i) const {
  const TimingSetting& x = settings_[i];
  const auto rounds = [](const std::string& label, const TimingRounds& y) {
    return fmt::format("{}: {} warm-up and {} measured iterations, samples beyond {} sigma removed once", label,
                       y.warmup, y.iterations, y.trim_sigma);
  };
  std::string text = rounds(labels_[i], x.rounds);
  if (x.prefill_tokens > 0) text += fmt::format(", prefill of {} tokens", x.prefill_tokens);
  if (x.decode != x.rounds) text += "; " + rounds(decode_labels_[i], x.decode);
  if (x.decode_prompt > 0) text += fmt::format(", decode of 1 token after {}", x.decode_prompt);
  text += "; " + HardwareText(x);
  if (x.device.empty()) text += ", " + x.isa;
  return text + (x.activations.empty() ? "." : ", activations " + x.activations + ".");
}

void AddSpeedColumns(const TimingColumns& timings, PrefillColumn prefill, Table& table) {
  const bool prefill_is_main = prefill == PrefillColumn::kMain && timings.size() == 1;
  for (std::size_t i = 0; i < timings.size(); ++i) {
    table.columns.push_back({fmt::format("Prefill tok/s ({})", timings.label(i)), Align::kRight, !prefill_is_main});
    table.columns.push_back(
        {fmt::format("Decode tok/s ({})", timings.decode_label(i)), Align::kRight, !timings.IsMain(i)});
  }
}

void AddSpeedCells(const TimingColumns& timings, const ResultRow& row, std::vector<Cell>& cells) {
  for (std::size_t i = 0; i < timings.size(); ++i) {
    const RowTiming* const timing = timings.Find(i, row);
    cells.push_back(timing != nullptr ? FigureSpeed(timing->prefill) : kNotMeasured);
    cells.push_back(timing != nullptr ? FigureSpeed(timing->decode) : kNotMeasured);
  }
}

}  // namespace marlin
