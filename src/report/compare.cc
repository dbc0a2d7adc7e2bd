#include "report/compare.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <tuple>
#include <utility>

#include "records/analysis.h"
#include "report/figures.h"
#include "report/table.h"

namespace marlin {
namespace {

// The two-sided 95 % of the normal distribution.
constexpr double kNormal95 = 1.96;

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

std::optional<Change> SpeedChange(const ResultRow& a, const ResultRow& b, std::optional<Speed> ResultRow::*speed) {
  const std::optional<Speed>& from = a.*speed;
  const std::optional<Speed>& to = b.*speed;
  if (!from || !to || TimingOf(a.record()) != TimingOf(b.record())) return std::nullopt;
  const double log_ratio = std::log(from->tok_s / to->tok_s);
  const auto percent = [](double log) { return 100 * std::expm1(log); };
  Change x{from->tok_s, to->tok_s, percent(log_ratio), std::nullopt, ""};
  if (from->unstable() || to->unstable()) {
    x.why_no_interval = "unstable";
    return x;
  }
  const auto variance = [](const TimingSummary& y) {  // of the logarithm of the mean
    return y.cv * y.cv / static_cast<double>(y.samples - y.removed);
  };
  const double error = kNormal95 * std::sqrt(variance(from->time_ns) + variance(to->time_ns));
  x.change_95 = Interval{percent(log_ratio - error), percent(log_ratio + error)};
  return x;
}

std::string Signed(double x, std::string_view unit) {
  return unit == "%" ? FigurePercent(x) : fmt::format("{:+.3f}", 1e3 * x + 0.0);
}

// What is compared, how it is written, and the limit on it.
struct Measure {
  const char* name;
  const char* unit;  // "%", "1e-3 nats"
  const char* flag;
  std::optional<Change> ComparedRow::*change;
  std::optional<double> CompareLimits::*limit;
};

constexpr Measure kMeasures[] = {
    {"perplexity", "%", "--max-ppl-delta", &ComparedRow::perplexity, &CompareLimits::ppl_delta_percent},
    {"mean KL", "1e-3 nats", "--max-kl", &ComparedRow::kl, &CompareLimits::kl_nats},
    {"time of prefill", "%", "--max-slowdown", &ComparedRow::prefill, &CompareLimits::slowdown_percent},
    {"time of decode", "%", "--max-slowdown", &ComparedRow::decode, &CompareLimits::slowdown_percent},
};

constexpr const char* kOneRun =
    "The interval covers the noise inside one run of A and one of B, not the noise between runs, which can be "
    "larger.\n";

std::string ChangeText(const Change& x, std::string_view unit) {
  if (!x.change_95) return fmt::format("{} (no interval: {})", Signed(x.change, unit), x.why_no_interval);
  return fmt::format("{} [{}, {}]", Signed(x.change, unit), Signed(x.change_95->low, unit),
                     Signed(x.change_95->high, unit));
}

void HoldAgainst(const CompareLimits& limits, ComparedRow& row) {
  for (const Measure& measure : kMeasures) {
    const std::optional<double>& limit = limits.*measure.limit;
    const std::optional<Change>& change = row.*measure.change;
    if (!limit || !change || !change->change_95 || change->change_95->low <= *limit) continue;
    row.exceeded.push_back(fmt::format("{} {}: {} {} {}, limit {} ({})", row.model, row.name, measure.name,
                                       ChangeText(*change, measure.unit), measure.unit, Signed(*limit, measure.unit),
                                       measure.flag));
  }
}

std::vector<std::string> Untested(const CompareLimits& limits, const Comparison& comparison) {
  std::vector<std::string> sentences;
  bool limited = false;
  for (const Measure& measure : kMeasures) {
    if (!(limits.*measure.limit)) continue;
    limited = true;
    const bool any = std::ranges::any_of(comparison.rows, [&](const ComparedRow& row) {
      return row.*measure.change && (row.*measure.change)->change_95;
    });
    if (any) continue;
    sentences.push_back(
        fmt::format("{}: no row has a {} with an interval in both folders", measure.flag, measure.name));
  }
  if (limited && !comparison.only_a.empty()) {
    sentences.push_back(
        fmt::format("B lacks rows of A: {}", OneLine(fmt::format("{}", fmt::join(comparison.only_a, ", ")))));
  }
  return sentences;
}

// One sentence per limit that some rows were held against and others, which have no interval, were not.
std::vector<std::string> PartlyUntested(const CompareLimits& limits, const Comparison& comparison) {
  std::vector<std::string> sentences;
  for (const Measure& measure : kMeasures) {
    if (!(limits.*measure.limit)) continue;
    std::vector<std::string> names;
    std::size_t all = 0;
    for (const ComparedRow& row : comparison.rows) {
      const std::optional<Change>& change = row.*measure.change;
      if (!change) continue;
      ++all;
      if (!change->change_95) names.push_back(row.model + " " + row.name);
    }
    if (names.empty() || names.size() == all) continue;
    sentences.push_back(fmt::format("{}: {} of {} rows have no interval of their {} and were not tested against it: {}",
                                    measure.flag, names.size(), all, measure.name, fmt::join(names, ", ")));
  }
  return sentences;
}

std::string Judgement(const Change& x) {
  if (!x.change_95) return "not tested";
  if (x.change_95->Contains(0)) return "no measurable difference";
  return x.change > 0 ? "worse" : "better";
}

// How many of the rows in both folders were tested in one measure, and why the others were not.
struct Tested {
  std::size_t rows = 0;
  std::size_t no_interval = 0;
  std::size_t not_measured = 0;  // in one of the folders, or not in the same way
  std::size_t all() const { return rows + no_interval + not_measured; }
};

Tested CountTested(const Comparison& comparison, const Measure& measure) {
  Tested count{0, 0, comparison.without_figures.size()};
  for (const ComparedRow& row : comparison.rows) {
    if (row.is_baseline && measure.change == &ComparedRow::kl) continue;
    const std::optional<Change>& change = row.*measure.change;
    (!change ? count.not_measured : change->change_95 ? count.rows : count.no_interval) += 1;
  }
  return count;
}

std::string TestedText(const Tested& count) {
  std::string out = fmt::format("tested: {} of {} rows", count.rows, count.all());
  if (count.no_interval > 0) out += fmt::format("; without an interval: {}", count.no_interval);
  if (count.not_measured > 0) out += fmt::format("; not measured in the same way in both: {}", count.not_measured);
  return out + "\n";
}

nlohmann::ordered_json ChangeJson(const std::optional<Change>& x) {
  if (!x) return nullptr;
  nlohmann::ordered_json json = {{"a", x->a}, {"b", x->b}, {"change", x->change}, {"change_95", nullptr}};
  if (x->change_95) json["change_95"] = {x->change_95->low, x->change_95->high};
  if (!x->change_95) json["why_no_interval"] = x->why_no_interval;
  return json;
}

}  // namespace

bool Comparison::exceeded() const {
  return std::any_of(rows.begin(), rows.end(), [](const ComparedRow& row) { return !row.exceeded.empty(); });
}

Comparison CompareRecords(std::span<const StoredRecord> a, std::span<const StoredRecord> b,
                          const CompareLimits& limits) {
  const Analysis analysis_a = Analyze(a);
  const Analysis analysis_b = Analyze(b);
  std::map<std::string, std::vector<Entry>> entries_b = EntriesOf(analysis_b);
  Comparison comparison;
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
        SpeedChange(from, to, &ResultRow::prefill),
        SpeedChange(from, to, &ResultRow::decode),
        {}};
    HoldAgainst(limits, row);
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
  comparison.untested = Untested(limits, comparison);
  comparison.partly_untested = PartlyUntested(limits, comparison);
  return comparison;
}

std::string CompareText(const Comparison& comparison) {
  std::string out;
  for (const Measure& measure : kMeasures) {
    Table table;
    table.columns = {{"Model", Align::kLeft},
                     {"Config", Align::kLeft},
                     {"Text", Align::kLeft},
                     {"A"},
                     {"B"},
                     {fmt::format("B against A, {} [95 %]", measure.unit)},
                     {"", Align::kLeft}};
    const auto number = [&](double x) {
      if (measure.change == &ComparedRow::perplexity) return FigureFixed(x, 3);
      return FigureThreeDigits(measure.change == &ComparedRow::kl ? 1e3 * x : x);
    };
    for (const ComparedRow& row : comparison.rows) {
      const std::optional<Change>& x = row.*measure.change;
      if (!x) continue;
      table.Add(
          {row.model, row.name, row.text, number(x->a), number(x->b), ChangeText(*x, measure.unit), Judgement(*x)});
    }
    if (table.rows.empty()) continue;
    const bool speed = measure.limit == &CompareLimits::slowdown_percent;
    out += fmt::format("{}{}{}\n\n{}{}", out.empty() ? "" : "\n", measure.name, speed ? "; A and B in tok/s" : "",
                       ToPlainText(table), TestedText(CountTested(comparison, measure)));
    if (speed) out += kOneRun;
  }
  const auto list = [&](const char* head, const std::vector<std::string>& names) {
    if (names.empty()) return;
    out += fmt::format("\n{} ({}):\n", head, names.size());
    for (const std::string& name : names) out += "  " + OneLine(name) + "\n";
  };
  list("Not tested, only in A", comparison.only_a);
  list("Not tested, only in B", comparison.only_b);
  list("Not tested, no figure in both", comparison.without_figures);
  return out;
}

nlohmann::ordered_json CompareJson(const Comparison& comparison) {
  nlohmann::ordered_json json = {{"rows", nlohmann::ordered_json::array()},
                                 {"only_a", comparison.only_a},
                                 {"only_b", comparison.only_b},
                                 {"without_figures", comparison.without_figures},
                                 {"tested", nlohmann::ordered_json::object()},
                                 {"untested", comparison.untested},
                                 {"exceeded", comparison.exceeded()}};
  for (const Measure& measure : kMeasures) {
    const Tested count = CountTested(comparison, measure);
    json["tested"][measure.name] = {
        {"rows", count.rows}, {"without_interval", count.no_interval}, {"not_measured", count.not_measured}};
  }
  for (const ComparedRow& row : comparison.rows) {
    json["rows"].push_back({{"model", row.model},
                            {"name", row.name},
                            {"text", row.text},
                            {"record_a", row.id_a},
                            {"record_b", row.id_b},
                            {"perplexity_percent", ChangeJson(row.perplexity)},
                            {"kl_nats", ChangeJson(row.kl)},
                            {"prefill_time_percent", ChangeJson(row.prefill)},
                            {"decode_time_percent", ChangeJson(row.decode)},
                            {"exceeded", row.exceeded}});
  }
  return json;
}

}  // namespace marlin
