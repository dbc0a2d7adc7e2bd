// Sections 3 and 4: uniform against mixed precision, and calibration texts against each other.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "report/comparisons.h"
#include "report/figures.h"
#include "report/page_sections.h"

namespace marlin {
namespace {

std::string ChangeCell(const std::optional<PairedDelta>& x) { return x ? FigureDelta(*x) : kNotMeasured; }
std::string ChangeCell(const std::optional<MeanEstimate>& x) { return x ? FigureKlChange(*x) : kNotMeasured; }

// KL decides where both have it, else perplexity; `better` when the second loses less.
std::string Verdict(const RowDifference& x, const char* better, const char* worse) {
  if (x.kl) {
    if (!x.kl->distinguished()) return kNoDifference;
    const bool less = x.kl->mean < 0;
    const bool opposite = x.perplexity && x.perplexity->distinguished() && (x.perplexity->percent < 0) != less;
    return std::string(less ? better : worse) + (opposite ? " by KL; perplexity says the opposite" : "");
  }
  if (x.perplexity) return !x.perplexity->distinguished() ? kNoDifference : x.perplexity->percent < 0 ? better : worse;
  return kNotMeasured;
}

std::string BudgetBits(const MixedPair& pair) {
  return fmt::format("{:.4f}", 8.0 * static_cast<double>(pair.budget_bytes) /
                                   static_cast<double>(pair.mixed->record().size.quantized_parameters));
}

void AddMixed(Table& table, const MixedPair& pair, const PageOptions& options) {
  const auto name = [&](const ResultRow& row) {
    return RecordCell(row.name + AcceptedMark(row.record()), *row.stored, options);
  };
  const ResultRow* const uniform = pair.uniform;
  const ResultRow& mixed = *pair.mixed;
  const RowDifference change = uniform == nullptr ? RowDifference{} : DifferenceOf(*uniform, mixed);
  table.Add({BudgetBits(pair), uniform == nullptr ? Cell("none within the budget") : name(*uniform),
             uniform == nullptr ? kNotMeasured : FigureDelta(*uniform),
             uniform == nullptr ? kNotMeasured : FigureKl(*uniform), name(mixed), FigureDelta(mixed), FigureKl(mixed),
             ChangeCell(change.perplexity), ChangeCell(change.kl),
             Verdict(change, "mixed is better", "mixed is worse")});
}

Table MixedTable(const ResultGroup& group, const PageOptions& options) {
  Table table;
  table.columns = {{"Budget bits/weight"},
                   {"Uniform", Align::kLeft},
                   {"Uniform delta %", Align::kRight, kDetail},
                   {"Uniform KL", Align::kRight, kDetail},
                   {"Mixed", Align::kLeft},
                   {"Mixed delta %", Align::kRight, kDetail},
                   {"Mixed KL", Align::kRight, kDetail},
                   {"Mixed against uniform, PPL % [95 %]"},
                   {"KL, 1e-3 nats [95 %]"},
                   {"Verdict", Align::kLeft}};
  table.key = 4;
  for (const MixedPair& pair : MixedPairs(group)) AddMixed(table, pair, options);
  return table;
}

// A line per configuration, method and text.
Table TextsTable(const std::vector<CalibratedRows>& all, const PageOptions& options) {
  Table table;
  table.columns = {
      {"Config", Align::kLeft}, {"Method", Align::kLeft}, {"Text", Align::kLeft}, {"Delta % [95 %]"}, {kKlTitle}};
  for (const CalibratedRows& entry : all) {
    for (const auto& [title, row] : entry.texts) {
      table.Add(
          {entry.config, entry.method, RecordCell(title, *row->stored, options), FigureDelta(*row), FigureKl(*row)});
    }
  }
  return table;
}

// The perplexity delta of a row, which links to its record.
Cell LossCell(const ResultRow* row, const PageOptions& options) {
  if (row == nullptr) return kNotMeasured;
  return RecordCell(row->delta ? FigurePercent(row->delta->percent) : kNotMeasured, *row->stored, options);
}

void AddTexts(Table& table, const std::string& config, const TextPair& pair, const PageOptions& options) {
  const bool measured = pair.first != nullptr && pair.second != nullptr;
  const RowDifference change = measured ? DifferenceOf(*pair.first, *pair.second) : RowDifference{};
  const bool identical =
      measured && pair.first->record().perplexity->window_nll == pair.second->record().perplexity->window_nll;
  table.Add(
      {config, pair.title, LossCell(pair.first, options), LossCell(pair.second, options), ChangeCell(change.perplexity),
       ChangeCell(change.kl),
       identical ? "none: calibration made no difference" : Verdict(change, "second is better", "first is better")});
}

// The line of the page's two texts stands once, behind the others, where no configuration has both.
Table DifferencesTable(const std::vector<CalibratedRows>& all, const PageOptions& options) {
  Table table;
  table.columns = {{"Config", Align::kLeft},
                   {"Texts", Align::kLeft},
                   {"First delta %"},
                   {"Second delta %"},
                   {"Second against first, PPL % [95 %]"},
                   {"KL, 1e-3 nats [95 %]"},
                   {"Verdict", Align::kLeft}};
  const bool has_page_texts =
      std::ranges::any_of(all, [](const auto& entry) { return PairsOf(entry)[0].first != nullptr; });
  for (const CalibratedRows& entry : all) {
    const std::vector<TextPair> pairs = PairsOf(entry);
    for (std::size_t i = has_page_texts ? 0 : 1; i < pairs.size(); ++i) {
      AddTexts(table, entry.config + " " + entry.method, pairs[i], options);
    }
  }
  if (!has_page_texts) AddTexts(table, "every configuration", {kPageTexts, nullptr, nullptr}, options);
  return table;
}

// Calibration on a text of the kind that is measured shows the method at its best.
std::string KinshipNote(const Analysis& analysis) {
  std::set<std::string> kin;
  for (const StoredRecord* const stored : analysis.shown) {
    const auto& text = stored->record.config.calibration;
    if (text && text->name.starts_with(kWikiText)) kin.insert(text->name);
  }
  if (kin.empty()) return "";
  return fmt::format(
      "{}: other articles of the collection that the test text comes from. On other kinds of text such a "
      "row may lose more.",
      fmt::join(kin, ", "));
}

// A plan is measured once, on one text; rows that follow it may be calibrated on another.
std::string PlanTextNote(const Analysis& analysis) {
  std::set<std::string> texts;
  for (const StoredRecord* const stored : analysis.shown) {
    const Record& x = stored->record;
    if (x.plan && x.config.calibration && x.plan->text.name != x.config.calibration->name)
      texts.insert(x.plan->text.name);
  }
  if (texts.empty()) return "";
  return fmt::format("The plans of mixed rows were measured on {}, also where the row is calibrated on another text.",
                     fmt::join(texts, ", "));
}

std::string Caption(const ResultGroup& group) {
  return group.perplexity() == nullptr ? "" : DescribeText(*group.perplexity());
}

// Which formats the plans of a group chose, and how often.
Table PlansTable(const ResultGroup& group, const PageOptions& options) {
  Table table;
  table.columns = {
      {"Plan", Align::kLeft}, {"Formats: units", Align::kLeft}, {"Expected KL"}, {"Sensitivities", Align::kLeft}};
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
    table.Add({RecordCell(ConfigName(row->record()), *row->stored, options),
               fmt::format("{}", fmt::join(formats, ", ")),
               expected ? fmt::format("{:.3f}", 1e3 * *expected) : std::string("-"),
               fmt::format("{}, {} x {} tokens, {} by {}", plan.text.name, plan.text.windows, plan.text.ctx, plan.probe,
                           plan.method)});
  }
  return table;
}

}  // namespace

Document MixedSection(const Analysis& analysis, const PageOptions& options) {
  Document tables;
  for (const ModelResults& model : analysis.models) {
    Document of_model;
    for (const ResultGroup& group : model.groups) {
      Table table = MixedTable(group, options);
      if (table.rows.empty()) continue;
      of_model.AddTable(std::move(table), Caption(group));
      Document plans;
      plans.AddTable(PlansTable(group, options));
      of_model.AddFold("What the plans chose", std::move(plans));
    }
    if (of_model.blocks.empty()) continue;
    tables.AddHeading(3, model.name);
    tables.Append(std::move(of_model));
  }
  Document out;
  out.AddHeading(2, "3. Uniform and mixed precision");
  if (tables.blocks.empty()) {
    out.AddText(
        "Not measured: no record has a mixed plan (one format per tensor, under the same bytes as the best single "
        "configuration).");
    return out;
  }
  out.AddList(
      {"Uniform: the best single configuration of the same method and calibration text whose bytes stay within the "
       "mixed "
       "plan's budget.",
       "KL in 1e-3 nats. Negative: the mixed plan loses less.",
       "The verdict follows KL, or perplexity where KL is not measured.",
       "Expected KL: the sum of the losses of the single units, measured with the weights of the planning step."});
  out.Append(std::move(tables));
  return out;
}

Document CalibrationSection(const Analysis& analysis, const PageOptions& options) {
  Document tables;
  for (const ModelResults& model : analysis.models) {
    Document of_model;
    for (const ResultGroup& group : model.groups) {
      const std::vector<CalibratedRows> all = CollectCalibrated(group);
      if (all.empty()) continue;
      of_model.AddTable(DifferencesTable(all, options), Caption(group));
      Document texts;
      texts.AddTable(TextsTable(all, options));
      of_model.AddFold("Every row with a calibration text", std::move(texts));
    }
    if (of_model.blocks.empty()) continue;
    tables.AddHeading(3, model.name);
    tables.Append(std::move(of_model));
  }
  Document out;
  out.AddHeading(2, "4. WikiText-2 and Bartowski v3 calibration");
  if (tables.blocks.empty()) {
    out.AddText(
        fmt::format("Not measured: no record has a calibration text ({}, {} or another).", kWikiText, kBartowski));
    return out;
  }
  std::vector<std::string> notes = {
      fmt::format("Each text has its own name. The line \"{}\" needs the texts named {} and {}.", kPageTexts, kWikiText,
                  kBartowski),
      "Other texts are compared with the one that lost least.",
      "Negative: the second loses less. The verdict follows KL, or perplexity where KL is not measured."};
  if (std::string note = KinshipNote(analysis); !note.empty()) notes.push_back(std::move(note));
  if (std::string note = PlanTextNote(analysis); !note.empty()) notes.push_back(std::move(note));
  out.AddList(std::move(notes));
  out.Append(std::move(tables));
  return out;
}

}  // namespace marlin
