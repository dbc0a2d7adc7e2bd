#include "records/analysis.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "records/keys.h"
#include "records/ranking.h"

namespace marlin {
namespace {

// Equal keys: perplexities may share a column. Without a perplexity: last.
auto GroupKey(const Record& record) {
  static const record::Perplexity kNone;
  const record::Perplexity& x = record.perplexity ? *record.perplexity : kNone;
  return std::tuple(!record.perplexity, !x.text.standard, x.text.name, x.protocol, ~x.windows, x.text.sha256,
                    x.metric_version, x.tokenizer_sha256, x.bos, x.ctx, x.windows_total, x.scored_per_window);
}

// "fp4-g128 gptq (c4)", with the calibration's windows where they are not the usual ones.
std::string RowName(const Record& record) {
  const record::Config& config = record.config;
  std::string name = ConfigName(record);
  const bool named = config.kind == record::Kind::kUniform || config.kind == record::Kind::kMixed;
  if (named && config.method != "rtn") name += " " + config.method;
  if (record.machine.activations == "int8") name += " w4a8";  // rounding that costs quality of its own
  if (!config.calibration) return name;
  constexpr std::uint64_t kUsualWindows = 128;
  constexpr std::uint64_t kUsualCtx = 512;
  const record::Calibration& text = *config.calibration;
  const bool usual = text.windows == kUsualWindows && text.ctx == kUsualCtx;
  return name + (usual ? fmt::format(" ({})", text.name)
                       : fmt::format(" ({}, {} x {} tokens)", text.name, text.windows, text.ctx));
}

using Records = std::vector<const StoredRecord*>;

void SortNewestFirst(Records& records) {
  const auto age = [](const StoredRecord* x) { return std::tie(x->record.created, x->record.id, x->file); };
  std::sort(records.begin(), records.end(), [&](const auto* a, const auto* b) { return age(a) > age(b); });
}

bool IsBaseline(const StoredRecord* x) { return x->record.config.kind == record::Kind::kBaseline; }

// The records of one model, newest first, by what they measured. One of version 1 stands in several lists.
struct Measured {
  Records all;
  std::map<std::string, Records> speeds;  // by identity of the row: throughput, kernels, peak memory
  Records floors;
};

Measured SortByMeasurement(Records records) {
  SortNewestFirst(records);
  Measured measured;
  for (const StoredRecord* stored : records) {
    const Record& x = stored->record;
    if (x.throughput || x.kernels || PeakDecodeBytes(x)) {
      measured.speeds[RowIdentity(x)].push_back(stored);
    }
    if (x.noise_floor) measured.floors.push_back(stored);
  }
  measured.all = std::move(records);
  return measured;
}

// The baseline that the record names, else the newest of its arithmetic that can be paired with it.
const Record* BaselineOf(const Record& record, const Records& group) {
  const Record* found = nullptr;
  for (const StoredRecord* candidate : group) {
    const Record& base = candidate->record;
    if (!IsBaseline(candidate) || !WhyNotPaired(base, record).empty()) continue;
    if (record.perplexity->baseline_id == base.id) return &base;
    if (found == nullptr && ArithmeticOf(base) == ArithmeticOf(record)) found = &base;
  }
  return found;
}

std::string WhyNoDelta(const Record& record, const Records& model) {
  if (!record.perplexity) return "no perplexity";
  std::string last = "no baseline of this model was measured";
  for (const StoredRecord* candidate : model) {
    if (!IsBaseline(candidate)) continue;
    last = WhyNotPaired(candidate->record, record);
    if (!last.empty()) return last;
    if (const std::string base = ArithmeticOf(candidate->record); base != ArithmeticOf(record)) {
      return fmt::format("the baseline was computed with {}, this row with {}", base, ArithmeticOf(record));
    }
    last = "the baseline names its text or windows differently";
  }
  return last;
}

// How many rows of a table each arithmetic computed.
using RowsByArithmetic = std::map<std::string, std::size_t>;

// The records of one row's quality, newest first: one is shown. A record with a divergence goes before one without,
// then the arithmetic that most rows of the table have, so that as few as possible meet in it.
void ChooseQuality(const Records& records, const RowsByArithmetic& rows, ResultRow& row) {
  const auto rank = [&](const StoredRecord* x) {
    return std::pair(IsBaseline(x) || x->record.divergence.has_value(), rows.at(ArithmeticOf(x->record)));
  };
  row.stored = *std::ranges::max_element(records, {}, rank);
  std::set<std::string> known = {ArithmeticOf(row.record())};
  for (const StoredRecord* other : records) {
    if (known.insert(ArithmeticOf(other->record)).second) row.other_arithmetics.push_back(other);
  }
}

bool Knows(const std::vector<RowTiming>& timings, const TimingSetting& setting) {
  return std::ranges::find(timings, setting, &RowTiming::setting) != timings.end();
}

// The newest record of each setting.
void AddSpeeds(const Records& records, ResultRow& row) {
  for (const StoredRecord* stored : records) {
    const Record& x = stored->record;
    if (const auto setting = TimingOf(x); setting && !Knows(row.timings, *setting)) {
      row.timings.push_back({stored, *setting, PrefillSpeed(x), DecodeSpeed(x)});
    }
    if (const auto setting = KernelTimingOf(x); setting && !Knows(row.kernels, *setting)) {
      row.kernels.push_back({stored, *setting, std::nullopt, std::nullopt});
    }
    if (row.memory == nullptr && PeakDecodeBytes(x)) row.memory = stored;
  }
}

// `quality`: of the row, `group`: of all rows that share its table; both newest first.
ResultRow MakeRow(const std::string& identity, const Records& quality, const RowsByArithmetic& rows,
                  const Records& group, const Measured& measured) {
  ResultRow row;
  ChooseQuality(quality, rows, row);
  const Record& record = row.record();
  row.name = RowName(record);
  if (const auto found = measured.speeds.find(identity); found != measured.speeds.end()) AddSpeeds(found->second, row);
  if (!record.perplexity) {
    if (!row.is_baseline()) row.why_no_delta = WhyNoDelta(record, measured.all);
    return row;
  }
  row.perplexity = PerplexityOf(*record.perplexity);
  if (record.divergence && !row.is_baseline()) {
    row.kl = KlOf(*record.divergence);
    row.same_top = SameTopOf(*record.divergence);
  }
  const Record* const base = row.is_baseline() ? &record : BaselineOf(record, group);
  if (base != nullptr) row.base_perplexity = PerplexityOf(*base->perplexity);
  if (row.is_baseline()) return row;
  if (base != nullptr) row.delta = DeltaOf(*base, record);
  if (base == nullptr) row.why_no_delta = WhyNoDelta(record, measured.all);
  return row;
}

// The noise floors of the table's baselines, the newest for each pair of kernels; first that of the baseline that is
// shown.
Records FloorsOf(const ResultGroup& result, const Records& group, const Measured& measured) {
  std::set<std::string> baselines;
  for (const StoredRecord* stored : group) {
    if (IsBaseline(stored)) baselines.insert(stored->record.id);
  }
  const auto owner = [](const StoredRecord* floor) {
    return floor->record.noise_floor->baseline_id.value_or(floor->record.id);
  };
  Records floors;
  std::set<std::pair<std::string, std::vector<std::string>>> known;
  for (const StoredRecord* floor : measured.floors) {
    if (!baselines.contains(owner(floor))) continue;
    if (known.emplace(owner(floor), floor->record.noise_floor->kernels).second) floors.push_back(floor);
  }
  std::ranges::stable_partition(floors, [&](const StoredRecord* floor) {
    return std::ranges::any_of(result.rows, [&](const ResultRow& row) { return row.record().id == owner(floor); });
  });
  return floors;
}

ResultGroup MakeGroup(const Records& group, const Measured& measured) {
  std::map<std::string, Records> rows;
  for (const StoredRecord* stored : group) rows[RowIdentity(stored->record)].push_back(stored);
  RowsByArithmetic by_arithmetic;
  for (const auto& [identity, quality] : rows) {
    std::set<std::string> of_row;
    for (const StoredRecord* stored : quality) of_row.insert(ArithmeticOf(stored->record));
    for (const std::string& arithmetic : of_row) ++by_arithmetic[arithmetic];
  }
  ResultGroup result;
  for (const auto& [identity, quality] : rows) {
    result.rows.push_back(MakeRow(identity, quality, by_arithmetic, group, measured));
  }
  result.order = RankRows(result.rows);
  result.floors = FloorsOf(result, group, measured);
  if (const Record* floor = result.noise_floor()) {
    for (ResultRow& row : result.rows) row.indistinguishable = Indistinguishable(*floor, row.record());
  }
  return result;
}

// Rows whose quality was measured, by comparability, then those of which nothing but speeds is known.
ModelResults MakeModel(const Measured& measured) {
  std::map<decltype(GroupKey(measured.all.front()->record)), Records> groups;
  std::set<std::string> with_quality;
  for (const StoredRecord* stored : measured.all) {
    if (!stored->record.perplexity) continue;
    groups[GroupKey(stored->record)].push_back(stored);
    with_quality.insert(RowIdentity(stored->record));
  }
  for (const StoredRecord* stored : measured.all) {
    if (with_quality.contains(RowIdentity(stored->record)) || stored->record.noise_floor) continue;
    groups[GroupKey(stored->record)].push_back(stored);
  }
  ModelResults model;
  model.name = measured.all.front()->record.model.name;
  for (const auto& [key, group] : groups) model.groups.push_back(MakeGroup(group, measured));
  return model;
}

// The records that figures of a row come from.
Records SourcesOf(const ResultRow& row) {
  Records sources = {row.stored};
  for (const RowTiming& timing : row.timings) sources.push_back(timing.stored);
  for (const RowTiming& timing : row.kernels) sources.push_back(timing.stored);
  if (row.memory != nullptr) sources.push_back(row.memory);
  sources.insert(sources.end(), row.other_arithmetics.begin(), row.other_arithmetics.end());
  return sources;
}

void ListShown(const ModelResults& model, const Measured& measured, Analysis& analysis) {
  std::set<const StoredRecord*> used;
  const auto show = [&](const StoredRecord* stored) {
    if (stored != nullptr && used.insert(stored).second) analysis.shown.push_back(stored);
  };
  for (const ResultGroup& group : model.groups) {
    for (const ResultRow& row : group.rows) {
      for (const StoredRecord* source : SourcesOf(row)) show(source);
    }
    for (const StoredRecord* floor : group.floors) show(floor);
  }
  for (const StoredRecord* stored : measured.all) {
    if (!used.contains(stored)) analysis.superseded.push_back(stored);
  }
}

// A name that several models share is not enough to tell them apart.
void MakeNamesUnique(std::vector<ModelResults>& models) {
  std::map<std::string, int> uses;
  for (const ModelResults& model : models) ++uses[model.name];
  for (ModelResults& model : models) {
    if (uses[model.name] > 1) model.name += fmt::format(" ({})", model.model().sha256.substr(0, 8));
  }
}

TimingRounds RoundsOf(const record::TimingProtocol& x) { return {x.id, x.warmup, x.iterations, x.trim_sigma}; }

}  // namespace

const record::Perplexity* ResultGroup::perplexity() const {
  const auto& measured = rows.front().record().perplexity;
  return measured ? &*measured : nullptr;
}

const ResultRow* ResultGroup::best() const {
  const auto found = std::find_if(rows.begin(), rows.end(), [](const ResultRow& row) { return row.best; });
  return found == rows.end() ? nullptr : &*found;
}

bool ResultGroup::any_kl() const {
  return std::any_of(rows.begin(), rows.end(), [](const ResultRow& row) { return row.kl.has_value(); });
}

Analysis Analyze(std::span<const StoredRecord> records) {
  std::map<std::pair<std::string, std::string>, Records> models;
  for (const StoredRecord& stored : records) {
    models[{stored.record.model.name, stored.record.model.sha256}].push_back(&stored);
  }
  Analysis analysis;
  for (auto& [key, some] : models) {
    const Measured measured = SortByMeasurement(std::move(some));
    analysis.models.push_back(MakeModel(measured));
    ListShown(analysis.models.back(), measured, analysis);
  }
  MakeNamesUnique(analysis.models);
  return analysis;
}

std::optional<TimingSetting> TimingOf(const Record& record) {
  if (!record.throughput) return std::nullopt;
  const record::Throughput& x = *record.throughput;
  return TimingSetting{RoundsOf(x.protocol),
                       RoundsOf(DecodeProtocol(x)),
                       x.prefill ? x.prefill->tokens : 0,
                       x.decode ? x.decode->prompt_tokens : 0,
                       record.machine.cpu,
                       record.machine.threads,
                       record.machine.isa,
                       record.machine.activations.value_or(""),
                       record.machine.device.value_or("")};
}

std::optional<TimingSetting> KernelTimingOf(const Record& record) {
  if (!record.kernels) return std::nullopt;
  const TimingRounds rounds = RoundsOf(record.kernels->protocol);
  const record::Machine& machine = record.machine;
  return TimingSetting{rounds,
                       rounds,
                       0,
                       0,
                       machine.cpu,
                       machine.threads,
                       machine.isa,
                       machine.activations.value_or(""),
                       machine.device.value_or("")};
}

std::string HardwareText(const TimingSetting& setting) {
  if (!setting.device.empty()) return setting.device;
  return fmt::format("{}, {} {}", setting.cpu, setting.threads, setting.threads == 1 ? "thread" : "threads");
}

std::optional<std::uint64_t> PeakDecodeBytes(const Record& record) {
  return record.machine.device ? record.size.peak_device_decode_bytes : record.size.peak_rss_decode_bytes;
}

std::string ConfigName(const Record& record) {
  const record::Config& config = record.config;
  std::string name = config.display_name.empty() ? config.id : config.display_name;
  if (config.kind == record::Kind::kMixed && config.budget_bytes && name == config.id &&
      record.size.quantized_parameters > 0) {
    const double bits =
        8 * static_cast<double>(*config.budget_bytes) / static_cast<double>(record.size.quantized_parameters);
    name += fmt::format(" {:.4g} bits", bits);
  }
  if (config.quantized_embeddings) name += " + embeddings";
  if (config.quantized_head) name += " + head";
  return name;
}

std::string CrossModelKey(const record::Perplexity& x) {
  const std::string windows = x.windows == x.windows_total ? "all" : fmt::format("first {}", x.windows);
  return fmt::format("{} v{} {} {} {}", x.protocol, x.metric_version, x.text.sha256, x.ctx, windows);
}

}  // namespace marlin
