#include "report/summary.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "report/figures.h"
#include "report/json_values.h"
#include "report/page_sections.h"
#include "report/table.h"
#include "report/timing_columns.h"

namespace marlin {
namespace {

using Json = nlohmann::ordered_json;

bool HasSameGrid(const ResultGroup& group) {
  return std::any_of(group.rows.begin(), group.rows.end(),
                     [](const ResultRow& row) { return row.record().config.same_grid_as_source; });
}

// What the marked rows leave out.
std::string AcceptedNote(const ResultGroup& group) {
  std::string out;
  for (const ResultRow& row : group.rows) {
    const auto& names = row.record().model.accepted_unknown;
    if (!names) continue;
    const std::string note =
        OneLine(fmt::format("‡ measured without {}, which the program does not know", fmt::join(*names, ", "))) + "\n";
    if (out.find(note) == std::string::npos) out += note;
  }
  return out;
}

std::string BestMark(const ResultGroup& group) {
  if (group.best() == nullptr) return "";
  return group.order == RankOrder::kDivergence ? "\n* best; ranked by KL\n" : "\n* best; ranked by perplexity delta\n";
}

std::string GroupText(const ModelResults& model, const ResultGroup& group) {
  const TimingColumns timings(group.rows, &ResultRow::timings);
  Table table;
  table.columns = {{""},           {"Rank"},           {"Config", Align::kLeft}, {"Bits/weight"},
                   {"PPL ± s.e."}, {"Delta % [95 %]"}, {"Compression"}};
  const bool diverges = group.any_kl();
  if (diverges) {
    table.columns.push_back({kKlTitle});
    table.columns.push_back({"Same top-1 %"});
  }
  AddSpeedColumns(timings, PrefillColumn::kMain, table);
  for (const ResultRow& row : group.rows) {
    std::vector<Cell> cells = {row.best ? "*" : "",
                               FigureRank(row),
                               MarkedName(row),
                               FigureBitsPerWeight(row.record()),
                               FigurePerplexity(row.perplexity),
                               FigureDelta(row),
                               FigureRatio(Compression(row.record().size))};
    if (diverges) {
      cells.push_back(FigureKl(row));
      cells.push_back(row.is_baseline() ? "baseline" : FigureShare(row.same_top));
    }
    AddSpeedCells(timings, row, cells);
    table.Add(std::move(cells));
  }
  std::string notes;
  for (const std::string& warning : TimingWarnings(group, timings)) notes += warning + "\n";
  for (const std::string& note : TimingNotes(group, timings)) notes += note + "\n";
  for (const std::string& note : ArithmeticNotes(group)) notes += note + "\n";
  const std::string text =
      group.perplexity() == nullptr ? "perplexity not measured" : DescribeText(*group.perplexity());
  return OneLine(model.name) + ": " + OneLine(text) + "\n\n" + ToPlainText(table) + BestMark(group) +
         (HasSameGrid(group) ? "† same grid as source, which flatters the row\n" : "") + AcceptedNote(group) + notes;
}

Json TimingJson(const RowTiming& timing) {
  const TimingSetting& setting = timing.setting;
  return {{"record", timing.record().id},
          {"file", timing.stored->file},
          {"timing_protocol", setting.rounds.protocol},
          {"decode_timing_protocol", setting.decode.protocol},
          {"cpu", setting.cpu},
          {"threads", setting.threads},
          {"isa", setting.isa},
          {"device", setting.device.empty() ? Json(nullptr) : Json(setting.device)},
          {"activations", setting.activations.empty() ? "fp32" : setting.activations},
          {"prefill_tok_s", timing.prefill ? Json(timing.prefill->tok_s) : Json(nullptr)},
          {"decode_tok_s", timing.decode ? Json(timing.decode->tok_s) : Json(nullptr)}};
}

Json RowJson(const ResultRow& row) {
  const RecordSummary figures = Summarize(row.record());
  Json json = Json::object();
  json["record"] = row.record().id;
  json["file"] = row.stored->file;
  json["config"] = row.record().config.id;
  json["name"] = row.name;
  json["baseline"] = row.is_baseline();
  json["best"] = row.best;
  json["rank"] = row.rank ? Json(*row.rank) : Json(nullptr);
  json["perplexity"] = OrNull(figures.perplexity);
  json["perplexity_standard_error"] = row.perplexity ? OrNull(row.perplexity->standard_error) : Json(nullptr);
  json["delta_percent"] = row.delta ? Json(row.delta->percent) : Json(nullptr);
  json["delta_percent_95"] = row.delta ? IntervalOrNull(row.delta->percent_95) : Json(nullptr);
  if (!row.why_no_delta.empty()) json["why_no_delta"] = row.why_no_delta;
  json["kl"] = OrNull(figures.kl);
  json["kl_95"] = row.kl ? IntervalOrNull(row.kl->mean_95) : Json(nullptr);
  json["same_top_percent"] = OrNull(figures.same_top_percent);
  json["indistinguishable"] = row.indistinguishable;
  json["few_windows"] = row.few();
  json["bits_per_byte"] = OrNull(figures.bits_per_byte);
  json["bits_per_weight"] = OrNull(figures.bits_per_weight);
  json["compression"] = OrNull(figures.compression);
  const RowTiming* const newest = row.timing();
  const Json timing = newest == nullptr ? Json::object() : TimingJson(*newest);
  for (const char* name : {"timing_protocol", "decode_timing_protocol", "prefill_tok_s", "decode_tok_s"}) {
    json[name] = timing.value(name, Json(nullptr));
  }
  json["timings"] = Json::array();
  for (const RowTiming& x : row.timings) json["timings"].push_back(TimingJson(x));
  json["same_grid_as_source"] = row.record().config.same_grid_as_source;
  if (const auto& names = row.record().model.accepted_unknown) json["accepted_unknown"] = *names;
  return json;
}

Json GroupJson(const ResultGroup& group) {
  Json json = Json::object();
  if (const record::Perplexity* measured = group.perplexity()) {
    json["protocol"] = measured->protocol;
    json["metric_version"] = measured->metric_version;
    json["text"] = measured->text.name;
    json["text_sha256"] = measured->text.sha256;
    json["ctx"] = measured->ctx;
    json["windows"] = measured->windows;
    json["windows_total"] = measured->windows_total;
  } else {
    json["protocol"] = nullptr;
  }
  json["ranked_by"] = group.order == RankOrder::kDivergence ? "kl" : "perplexity_delta";
  json["rows"] = Json::array();
  for (const ResultRow& row : group.rows) json["rows"].push_back(RowJson(row));
  return json;
}

}  // namespace

std::string SummaryText(const Analysis& analysis) {
  std::string out;
  for (const ModelResults& model : analysis.models) {
    for (const ResultGroup& group : model.groups) out += (out.empty() ? "" : "\n") + GroupText(model, group);
  }
  return out.empty() ? "No benchmark results found yet.\n" : out;
}

Json SummaryJson(const Analysis& analysis) {
  Json json = Json::object();
  json["models"] = Json::array();
  for (const ModelResults& model : analysis.models) {
    Json groups = Json::array();
    for (const ResultGroup& group : model.groups) groups.push_back(GroupJson(group));
    json["models"].push_back(
        Json{{"model", model.name}, {"sha256", model.model().sha256}, {"results", std::move(groups)}});
  }
  return json;
}

}  // namespace marlin
