#include "report/timing_columns.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace marlin {
namespace {

std::vector<const ResultRow*> Addresses(const std::vector<ResultRow>& rows) {
  std::vector<const ResultRow*> addresses;
  for (const ResultRow& row : rows) addresses.push_back(&row);
  return addresses;
}

}  // namespace

TimingColumns::TimingColumns(const std::vector<ResultRow>& rows, SettingOf setting_of)
    : TimingColumns(Addresses(rows), setting_of) {}

TimingColumns::TimingColumns(const std::vector<const ResultRow*>& rows, SettingOf setting_of)
    : setting_of_(setting_of) {
  std::set<TimingSetting> settings;
  for (const ResultRow* row : rows) {
    if (const auto setting = setting_of(row->record())) settings.insert(*setting);
  }
  settings_.assign(settings.begin(), settings.end());
  for (std::size_t i = 0; i < settings_.size(); ++i) {
    const auto same_name = [&](const TimingSetting& x) { return x.protocol == settings_[i].protocol; };
    const auto first = std::find_if(settings_.begin(), settings_.end(), same_name);
    const bool alone = std::count_if(settings_.begin(), settings_.end(), same_name) == 1;
    const auto number = (settings_.begin() + static_cast<std::ptrdiff_t>(i)) - first;
    labels_.push_back(alone ? settings_[i].protocol : fmt::format("{}, setting {}", settings_[i].protocol, number + 1));
  }
}

bool TimingColumns::Holds(std::size_t i, const ResultRow& row) const {
  return setting_of_(row.record()) == settings_[i];
}

std::string TimingColumns::Describe(std::size_t i) const {
  const TimingSetting& x = settings_[i];
  std::string text = fmt::format("{}: {} warm-up and {} measured iterations, samples beyond {} sigma removed once",
                                 labels_[i], x.warmup, x.iterations, x.trim_sigma);
  if (x.prefill_tokens > 0) text += fmt::format(", prefill of {} tokens", x.prefill_tokens);
  if (x.decode_prompt > 0) text += fmt::format(", decode of 1 token after {}", x.decode_prompt);
  return text + fmt::format("; {}, {} {}.", x.cpu, x.threads, x.threads == 1 ? "thread" : "threads");
}

}  // namespace marlin
