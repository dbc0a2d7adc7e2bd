#include "records/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <tuple>
#include <utility>

#include "records/analysis.h"

namespace marlin {
namespace {

struct Entry {
  const ResultRow* row = nullptr;
  std::string model;
};

// What two rows must share to be one. Windows are no part of it: rows that differ in them are shown, without interval.
std::string KeyOf(const Record& record) {
  const record::Config& x = record.config;
  std::string key = fmt::format("{} {} {} {} {}{}{} {}", record.model.sha256, x.id, static_cast<int>(x.kind), x.method,
                                x.quantized_embeddings, x.quantized_head, x.budget_bytes.value_or(0),
                                record.machine.activations.value_or(""));
  if (x.calibration) {
    key += fmt::format(" {} {} {} {}", x.calibration->name, x.calibration->sha256, x.calibration->windows,
                       x.calibration->ctx);
  }
  if (!record.perplexity) return key;
  const record::Perplexity& y = *record.perplexity;
  return key + fmt::format(" / {} {} {} {} {} {} {}", y.protocol, y.metric_version, y.text.sha256, y.tokenizer_sha256,
                           y.bos, y.ctx, y.scored_per_window);
}

// By key, the newest first.
std::map<std::string, std::vector<Entry>> EntriesOf(const Analysis& analysis) {
  std::map<std::string, std::vector<Entry>> entries;
  for (const ModelResults& model : analysis.models) {
    for (const ResultGroup& group : model.groups) {
      for (const ResultRow& row : group.rows) entries[KeyOf(row.record())].push_back({&row, model.name});
    }
  }
  for (auto& [key, some] : entries) {
    std::ranges::stable_sort(some, std::greater{}, [](const Entry& x) { return x.row->record().created; });
  }
  return entries;
}

std::size_t WindowsOf(const Entry& entry) {
  const auto& perplexity = entry.row->record().perplexity;
  return perplexity ? perplexity->windows : 0;
}

// The newest two of a key that have as many windows, else the newest two.
std::pair<const Entry*, const Entry*> Pair(const std::vector<Entry>& a, const std::vector<Entry>& b) {
  for (const Entry& from : a) {
    const auto to = std::ranges::find(b, WindowsOf(from), WindowsOf);
    if (to != b.end()) return {&from, &*to};
  }
  return {&a[0], &b[0]};
}

std::string WhyNoInterval(const Record& a, const Record& b) {
  if (a.perplexity->windows != b.perplexity->windows) {
    return fmt::format("{} and {} windows", a.perplexity->windows, b.perplexity->windows);
  }
  return "one window";
}

std::optional<Change> PerplexityChange(const ResultRow& a, const ResultRow& b) {
  if (!a.perplexity || !b.perplexity) return std::nullopt;
  Change x{a.perplexity->perplexity, b.perplexity->perplexity, 0, std::nullopt, ""};
  x.change = 100 * (x.b / x.a - 1);
  if (WhyNotPaired(a.record(), b.record()).empty()) {
    const PairedDelta delta = DeltaOf(a.record(), b.record());
    x.change = delta.percent;
    x.change_95 = delta.percent_95;
  }
  if (!x.change_95) x.why_no_interval = WhyNoInterval(a.record(), b.record());
  return x;
}

std::optional<Change> KlChange(const ResultRow& a, const ResultRow& b) {
  if (!a.kl || !b.kl) return std::nullopt;
  const record::Divergence& from = *a.record().divergence;
  const record::Divergence& to = *b.record().divergence;
  if (from.protocol != to.protocol || from.metric_version != to.metric_version) return std::nullopt;
  Change x{a.kl->mean, b.kl->mean, b.kl->mean - a.kl->mean, std::nullopt, ""};
  if (WhyKlNotPaired(a.record(), b.record()).empty()) x.change_95 = KlDifference(a.record(), b.record()).mean_95;
  if (!x.change_95) x.why_no_interval = WhyNoInterval(a.record(), b.record());
  return x;
}

// In the newest setting of `a` that `b` was timed in too.
std::optional<Change> SpeedChange(const ResultRow& a, const ResultRow& b, std::optional<Speed> RowTiming::*speed) {
  const auto timing_in_b = [&](const RowTiming& x) {
    return std::ranges::find(b.timings, x.setting, &RowTiming::setting);
  };
  const auto timed =
      std::ranges::find_if(a.timings, [&](const RowTiming& x) { return timing_in_b(x) != b.timings.end(); });
  if (timed == a.timings.end()) return std::nullopt;
  const std::optional<Speed>& from = (*timed).*speed;
  const std::optional<Speed>& to = (*timing_in_b(*timed)).*speed;
  if (!from || !to) return std::nullopt;
  const SpeedRatio speed_of_b = RatioOf(*from, *to);
  const auto percent = [](double ratio) { return 100 * (1 / ratio - 1); };  // of the time per token
  Change x{from->tok_s, to->tok_s, percent(speed_of_b.ratio), std::nullopt, ""};
  if (const auto& ratio_95 = speed_of_b.ratio_95) {
    x.change_95 = Interval{percent(ratio_95->high), percent(ratio_95->low)};
  } else {
    x.why_no_interval = from->unstable() || to->unstable() ? "unstable" : "one sample";
  }
  return x;
}

std::vector<const ComparedMeasure*> ExceededBy(const ComparedRow& row, const CompareLimits& limits) {
  std::vector<const ComparedMeasure*> exceeded;
  for (const ComparedMeasure& measure : kComparedMeasures) {
    const std::optional<double>& limit = limits.*measure.limit;
    const std::optional<Change>& change = row.*measure.change;
    if (!limit || !change || !change->change_95 || change->change_95->low <= *limit) continue;
    exceeded.push_back(&measure);
  }
  return exceeded;
}

// Sets what the limits were not held against.
void FindUntested(Comparison& comparison) {
  for (const ComparedMeasure& measure : kComparedMeasures) {
    if (!(comparison.limits.*measure.limit)) continue;
    PartlyTested some{&measure, 0, {}};
    for (const ComparedRow& row : comparison.rows) {
      const std::optional<Change>& change = row.*measure.change;
      if (!change) continue;
      ++some.rows;
      if (!change->change_95) some.without_interval.push_back(row.model + " " + row.name);
    }
    if (some.without_interval.size() == some.rows) {
      comparison.untested.push_back(&measure);
    } else if (!some.without_interval.empty()) {
      comparison.partly_tested.push_back(std::move(some));
    }
  }
}

}  // namespace

bool Comparison::exceeded() const {
  return std::any_of(rows.begin(), rows.end(), [](const ComparedRow& row) { return !row.exceeded.empty(); });
}

TestedRows CountTested(const Comparison& comparison, const ComparedMeasure& measure) {
  TestedRows count{0, 0, comparison.without_figures.size()};
  for (const ComparedRow& row : comparison.rows) {
    if (row.is_baseline && measure.change == &ComparedRow::kl) continue;
    const std::optional<Change>& change = row.*measure.change;
    (!change ? count.not_measured : change->change_95 ? count.rows : count.no_interval) += 1;
  }
  return count;
}

Comparison CompareRecords(std::span<const StoredRecord> a, std::span<const StoredRecord> b,
                          const CompareLimits& limits) {
  const Analysis analysis_a = Analyze(a);
  const Analysis analysis_b = Analyze(b);
  std::map<std::string, std::vector<Entry>> entries_b = EntriesOf(analysis_b);
  Comparison comparison;
  comparison.limits = limits;
  const auto title = [](const Entry& entry) { return entry.model + " " + entry.row->name; };
  for (const auto& [key, some] : EntriesOf(analysis_a)) {
    const auto found = entries_b.find(key);
    if (found == entries_b.end()) {
      comparison.only_a.push_back(title(some[0]));
      continue;
    }
    const auto [entry_a, entry_b] = Pair(some, found->second);
    const ResultRow& from = *entry_a->row;
    const ResultRow& to = *entry_b->row;
    ComparedRow row{
        entry_a->model,
        from.name,
        from.record().perplexity ? from.record().perplexity->text.name + ", " + from.record().perplexity->protocol : "",
        from.record().id,
        to.record().id,
        from.is_baseline(),
        PerplexityChange(from, to),
        KlChange(from, to),
        SpeedChange(from, to, &RowTiming::prefill),
        SpeedChange(from, to, &RowTiming::decode),
        {}};
    row.exceeded = ExceededBy(row, limits);
    entries_b.erase(found);
    const bool any = row.perplexity || row.kl || row.prefill || row.decode;
    if (!any) {
      comparison.without_figures.push_back(title(*entry_a));
      continue;
    }
    comparison.rows.push_back(std::move(row));
  }
  for (const auto& [key, some] : entries_b) comparison.only_b.push_back(title(some[0]));
  std::sort(comparison.only_a.begin(), comparison.only_a.end());
  std::sort(comparison.only_b.begin(), comparison.only_b.end());
  std::sort(comparison.without_figures.begin(), comparison.without_figures.end());
  std::sort(comparison.rows.begin(), comparison.rows.end(), [](const ComparedRow& x, const ComparedRow& y) {
    return std::tie(x.model, x.name, x.text, x.id_a) < std::tie(y.model, y.name, y.text, y.id_a);
  });
  FindUntested(comparison);
  return comparison;
}

}  // namespace marlin
