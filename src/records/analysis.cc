#include "records/analysis.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

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

std::string TextKey(const std::optional<record::Calibration>& x) {
  return x ? fmt::format("{} {} {} x {}", x->name, x->sha256, x->windows, x->ctx) : "";
}

// Equal keys: the same configuration of the same model, its activations rounded alike.
auto ConfigKey(const Record& record) {
  const record::Config& x = record.config;
  return std::tuple(x.kind, x.id, x.method, TextKey(x.calibration), x.plan_sha256.value_or(""),
                    x.import_sha256.value_or(""), x.quantized_embeddings, x.quantized_head,
                    record.machine.activations.value_or(""));
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

// Nothing is lost when `older` is left out for `newer`, both of one configuration and group.
bool Replaces(const Record& newer, const Record& older) {
  const bool timing = !older.throughput || TimingOf(newer) == TimingOf(older);
  const bool kernels = !older.kernels || KernelTimingOf(newer) == KernelTimingOf(older);
  const bool divergence = (!older.divergence || newer.divergence) && (!older.noise_floor || newer.noise_floor);
  return timing && kernels && divergence;
}

// Leaves out records of one group that a newer one of the same configuration replaces.
std::vector<const StoredRecord*> NewestOnly(std::vector<const StoredRecord*> group,
                                            std::vector<const StoredRecord*>& superseded) {
  const auto age = [](const StoredRecord* x) { return std::tie(x->record.created, x->record.id, x->file); };
  std::sort(group.begin(), group.end(), [&](const auto* a, const auto* b) { return age(a) > age(b); });
  std::vector<const StoredRecord*> kept;
  for (const StoredRecord* candidate : group) {
    const bool replaced = std::any_of(kept.begin(), kept.end(), [&](const StoredRecord* newer) {
      return ConfigKey(newer->record) == ConfigKey(candidate->record) && Replaces(newer->record, candidate->record);
    });
    (replaced ? superseded : kept).push_back(candidate);
  }
  return kept;
}

// The baseline that the record names, else the newest that can be paired with it (`group` is sorted newest first).
const Record* BaselineOf(const Record& record, std::span<const StoredRecord* const> group) {
  const Record* found = nullptr;
  for (const StoredRecord* candidate : group) {
    if (candidate->record.config.kind != record::Kind::kBaseline) continue;
    if (!WhyNotPaired(candidate->record, record).empty()) continue;
    if (record.perplexity->baseline_id == candidate->record.id) return &candidate->record;
    if (found == nullptr) found = &candidate->record;
  }
  return found;
}

std::string WhyNoDelta(const Record& record, std::span<const StoredRecord* const> model) {
  if (!record.perplexity) return "no perplexity";
  for (const StoredRecord* candidate : model) {
    if (candidate->record.config.kind != record::Kind::kBaseline) continue;
    const std::string why = WhyNotPaired(candidate->record, record);
    return why.empty() ? "the baseline names its text or windows differently" : why;
  }
  return "no baseline of this model was measured";
}

ResultRow MakeRow(const StoredRecord& stored, const Record* base) {
  const Record& record = stored.record;
  ResultRow row;
  row.stored = &stored;
  row.name = RowName(record);
  if (record.perplexity) row.perplexity = PerplexityOf(*record.perplexity);
  if (record.divergence && !row.is_baseline()) {
    row.kl = KlOf(*record.divergence);
    row.same_top = SameTopOf(*record.divergence);
  }
  row.prefill = PrefillSpeed(record);
  row.decode = DecodeSpeed(record);
  if (base == nullptr) return row;
  row.base_perplexity = PerplexityOf(*base->perplexity);
  if (!row.is_baseline()) row.delta = DeltaOf(*base, record);
  return row;
}

ResultGroup MakeGroup(std::span<const StoredRecord* const> group, std::span<const StoredRecord* const> model) {
  ResultGroup result;
  for (const StoredRecord* stored : group) {
    const Record& record = stored->record;
    const bool is_baseline = record.config.kind == record::Kind::kBaseline;
    const Record* base = !record.perplexity ? nullptr : is_baseline ? &record : BaselineOf(record, group);
    result.rows.push_back(MakeRow(*stored, base));
    if (!is_baseline && base == nullptr) result.rows.back().why_no_delta = WhyNoDelta(record, model);
  }
  result.order = RankRows(result.rows);
  if (const Record* floor = result.noise_floor()) {
    for (ResultRow& row : result.rows) row.indistinguishable = Indistinguishable(*floor, row.record());
  }
  return result;
}

ModelResults MakeModel(const std::vector<const StoredRecord*>& records, std::vector<const StoredRecord*>& superseded) {
  std::map<decltype(GroupKey(records.front()->record)), std::vector<const StoredRecord*>> groups;
  for (const StoredRecord* stored : records) groups[GroupKey(stored->record)].push_back(stored);
  ModelResults model;
  model.name = records.front()->record.model.name;
  for (auto& [key, group] : groups) {
    model.groups.push_back(MakeGroup(NewestOnly(std::move(group), superseded), records));
  }
  return model;
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

const Record* ResultGroup::noise_floor() const {
  for (const ResultRow& row : rows) {
    if (row.is_baseline() && row.record().noise_floor) return &row.record();
  }
  return nullptr;
}

bool ResultGroup::any_kl() const {
  return std::any_of(rows.begin(), rows.end(), [](const ResultRow& row) { return row.kl.has_value(); });
}

Analysis Analyze(std::span<const StoredRecord> records) {
  std::map<std::pair<std::string, std::string>, std::vector<const StoredRecord*>> models;
  for (const StoredRecord& stored : records) {
    models[{stored.record.model.name, stored.record.model.sha256}].push_back(&stored);
  }
  Analysis analysis;
  for (auto& [key, group] : models) {
    std::sort(group.begin(), group.end(), [](const StoredRecord* a, const StoredRecord* b) {
      return std::tie(a->record.id, a->file) < std::tie(b->record.id, b->file);
    });
    analysis.models.push_back(MakeModel(group, analysis.superseded));
  }
  MakeNamesUnique(analysis.models);
  for (const ModelResults& model : analysis.models) {
    for (const ResultGroup& group : model.groups) {
      for (const ResultRow& row : group.rows) analysis.shown.push_back(row.stored);
    }
  }
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
                       record.machine.threads};
}

std::optional<TimingSetting> KernelTimingOf(const Record& record) {
  if (!record.kernels) return std::nullopt;
  const TimingRounds rounds = RoundsOf(record.kernels->protocol);
  return TimingSetting{rounds, rounds, 0, 0, record.machine.cpu, record.machine.threads};
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
