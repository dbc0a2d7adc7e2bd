// Sections 3 and 4: uniform against mixed precision, and calibration texts against each other.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <vector>

#include "report/comparisons.h"
#include "report/figures.h"
#include "report/page_sections.h"

namespace marlin {
namespace {

std::string ChangeCell(const std::optional<PairedDelta>& x) { return x ? FigureDelta(*x) : kNotMeasured; }
std::string ChangeCell(const std::optional<MeanEstimate>& x) { return x ? FigureKlChange(*x) : kNotMeasured; }

Cell RecordOf(const ResultRow* row, const PageOptions& options) {
  return row == nullptr ? Cell("-") : RecordCell(*row->stored, options);
}

// KL decides where both have it, else perplexity; `better` when the second loses less.
std::string Verdict(const RowDifference& x, const char* better, const char* worse) {
  if (x.kl) return !x.kl->distinguished() ? kNoDifference : x.kl->mean < 0 ? better : worse;
  if (x.perplexity) return !x.perplexity->distinguished() ? kNoDifference : x.perplexity->percent < 0 ? better : worse;
  return kNotMeasured;
}

std::string BudgetBits(const MixedPair& pair) {
  return fmt::format("{:.4f}", 8.0 * static_cast<double>(pair.budget_bytes) /
                                   static_cast<double>(pair.mixed->record().size.quantized_parameters));
}

void AddMixed(Table& table, const ModelResults& model, const MixedPair& pair, const PageOptions& options) {
  const ResultRow& mixed = *pair.mixed;
  std::vector<Cell> cells = {model.name, BudgetBits(pair)};
  if (pair.uniform == nullptr) {
    for (const char* text : {"none within the budget", kNotMeasured, kNotMeasured}) cells.emplace_back(text);
  } else {
    cells.insert(cells.end(), {pair.uniform->name + AcceptedMark(pair.uniform->record()), FigureDelta(*pair.uniform),
                               FigureKl(*pair.uniform)});
  }
  cells.insert(cells.end(), {mixed.name + AcceptedMark(mixed.record()), FigureDelta(mixed), FigureKl(mixed)});
  const RowDifference change = pair.uniform == nullptr ? RowDifference{} : DifferenceOf(*pair.uniform, mixed);
  cells.insert(cells.end(), {ChangeCell(change.perplexity), ChangeCell(change.kl),
                             Verdict(change, "mixed is better", "mixed is worse"), RecordOf(pair.uniform, options),
                             RecordOf(pair.mixed, options)});
  table.Add(std::move(cells));
}

Table MixedTable(const ModelResults& model, const ResultGroup& group, const PageOptions& options) {
  Table table;
  table.columns = {{"Model", Align::kLeft},
                   {"Budget bits/weight"},
                   {"Uniform", Align::kLeft},
                   {"Uniform delta %"},
                   {"Uniform KL"},
                   {"Mixed", Align::kLeft},
                   {"Mixed delta %"},
                   {"Mixed KL"},
                   {"Mixed against uniform, PPL % [95 %]"},
                   {"KL, 1e-3 nats [95 %]"},
                   {"Verdict", Align::kLeft},
                   {"Uniform record", Align::kLeft},
                   {"Mixed record", Align::kLeft}};
  for (const MixedPair& pair : MixedPairs(group)) AddMixed(table, model, pair, options);
  return table;
}

// A line per configuration and method, three columns per text.
Table TextsTable(const ModelResults& model, const std::vector<CalibratedRows>& all, const PageOptions& options) {
  const std::vector<std::string> texts = TextsOf(all);
  Table table;
  table.columns = {{"Model", Align::kLeft}, {"Config", Align::kLeft}, {"Method", Align::kLeft}};
  for (const std::string& text : texts) {
    table.columns.push_back({text + ": delta % [95 %]"});
    table.columns.push_back({text + ": KL, 1e-3 nats [95 %]"});
    table.columns.push_back({"Record", Align::kLeft});
  }
  for (const CalibratedRows& entry : all) {
    std::vector<Cell> cells = {model.name, entry.config, entry.method};
    for (const std::string& text : texts) {
      const ResultRow* row = entry.Find(text);
      cells.insert(cells.end(), {row == nullptr ? kNotMeasured : FigureDelta(*row),
                                 row == nullptr ? kNotMeasured : FigureKl(*row), RecordOf(row, options)});
    }
    table.Add(std::move(cells));
  }
  return table;
}

void AddTexts(Table& table, const ModelResults& model, const CalibratedRows& entry, const TextPair& pair,
              const PageOptions& options) {
  const bool measured = pair.first != nullptr && pair.second != nullptr;
  const RowDifference change = measured ? DifferenceOf(*pair.first, *pair.second) : RowDifference{};
  const bool identical =
      measured && pair.first->record().perplexity->window_nll == pair.second->record().perplexity->window_nll;
  table.Add(
      {model.name, entry.config, entry.method, pair.title, ChangeCell(change.perplexity), ChangeCell(change.kl),
       identical ? "none: calibration made no difference" : Verdict(change, "second is better", "first is better"),
       RecordOf(pair.first, options), RecordOf(pair.second, options)});
}

Table DifferencesTable(const ModelResults& model, const std::vector<CalibratedRows>& all, const PageOptions& options) {
  Table table;
  table.columns = {{"Model", Align::kLeft},
                   {"Config", Align::kLeft},
                   {"Method", Align::kLeft},
                   {"Texts", Align::kLeft},
                   {"Second against first, PPL % [95 %]"},
                   {"KL, 1e-3 nats [95 %]"},
                   {"Verdict", Align::kLeft},
                   {"First record", Align::kLeft},
                   {"Second record", Align::kLeft}};
  for (const CalibratedRows& entry : all) {
    for (const TextPair& pair : PairsOf(entry)) AddTexts(table, model, entry, pair, options);
  }
  return table;
}

std::string Caption(const ResultGroup& group) {
  return group.perplexity() == nullptr ? "" : DescribeText(*group.perplexity());
}

// Which formats the plans of a group chose, and how often.
Table PlansTable(const ModelResults& model, const ResultGroup& group, const PageOptions& options) {
  Table table;
  table.columns = {{"Model", Align::kLeft}, {"Plan", Align::kLeft},          {"Formats: units", Align::kLeft},
                   {"Expected KL"},         {"Sensitivities", Align::kLeft}, {"Record", Align::kLeft}};
  for (const ResultRow* row : DistinctPlans(group)) {
    const record::Plan& plan = *row->record().plan;
    std::map<std::string, std::size_t> units;
    std::optional<double> expected = 0;
    for (const record::PlanUnit& unit : plan.units) {
      units[unit.format] += 1;
      expected = expected && unit.kl ? std::optional(*expected + *unit.kl) : std::nullopt;
    }
    std::vector<std::string> formats;
    for (const auto& [format, count] : units) formats.push_back(fmt::format("{}: {}", format, count));
    table.Add({model.name, ConfigName(row->record()), fmt::format("{}", fmt::join(formats, ", ")),
               expected ? fmt::format("{:.3f}", 1e3 * *expected) : std::string("-"),
               fmt::format("{}, {} x {} tokens, {} by {}", plan.text.name, plan.text.windows, plan.text.ctx, plan.probe,
                           plan.method),
               RecordOf(row, options)});
  }
  return table;
}

}  // namespace

Document MixedSection(const Analysis& analysis, const PageOptions& options) {
  Document out;
  out.AddHeading(2, "3. Uniform and mixed precision");
  bool any = false;
  for (const ModelResults& model : analysis.models) {
    for (const ResultGroup& group : model.groups) {
      Table table = MixedTable(model, group, options);
      if (table.rows.empty()) continue;
      any = true;
      out.AddTable(std::move(table), Caption(group));
      out.AddTable(PlansTable(model, group, options));
    }
  }
  if (!any) {
    out.AddText(
        "Not measured: no record has a mixed plan (one format per tensor, under the same bytes as the best single "
        "configuration).");
    return out;
  }
  out.AddText(
      "Uniform: the best single configuration of the same method whose bytes stay within the mixed plan's budget. KL "
      "in 1e-3 nats. Negative: the mixed plan loses less. The verdict follows KL, or perplexity where KL is not "
      "measured. Expected KL: the sum of the losses of the single units, measured with the weights of the planning "
      "step.");
  return out;
}

Document CalibrationSection(const Analysis& analysis, const PageOptions& options) {
  Document out;
  out.AddHeading(2, "4. WikiText-2 and Bartowski v3 calibration");
  bool any = false;
  for (const ModelResults& model : analysis.models) {
    for (const ResultGroup& group : model.groups) {
      const std::vector<CalibratedRows> all = CollectCalibrated(group);
      if (all.empty()) continue;
      any = true;
      out.AddTable(TextsTable(model, all, options), Caption(group));
      out.AddTable(DifferencesTable(model, all, options));
    }
  }
  out.AddText(
      any ? fmt::format("Each text has its own name. The line \"{}\" needs the texts named {} and {}. Other texts are "
                        "compared with the one that lost least. Negative: the second loses less. The verdict follows "
                        "KL, or perplexity where KL is not measured.",
                        kPageTexts, kWikiText, kBartowski)
          : fmt::format("Not measured: no record has a calibration text ({}, {} or another).", kWikiText, kBartowski));
  return out;
}

}  // namespace marlin
