// Sections 3 and 4: uniform against mixed precision, and calibration texts against each other.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "report/figures.h"
#include "report/page_sections.h"

namespace marlin {
namespace {

constexpr const char* kWikiText = "wikitext2";
constexpr const char* kBartowski = "bartowski-v3";

// The best uniform row whose quantized tensors are the same ones and fit the budget of the mixed row.
const ResultRow* UniformPartner(const ResultGroup& group, const ResultRow& mixed) {
  const record::Size& size = mixed.record().size;
  const std::uint64_t budget = mixed.record().config.budget_bytes.value_or(size.quantized_tensor_bytes);
  for (const ResultRow& row : group.rows) {  // sorted by delta
    const bool fits = row.record().size.quantized_parameters == size.quantized_parameters &&
                      row.record().size.quantized_tensor_bytes <= budget;
    if (row.delta && row.record().config.kind == record::Kind::kUniform && fits) return &row;
  }
  return nullptr;
}

std::string Verdict(const PairedDelta& change, const char* better, const char* worse) {
  if (!change.distinguished()) return "not distinguished";
  return change.percent < 0 ? better : worse;
}

void AddMixed(Table& table, const ModelResults& model, const ResultGroup& group, const ResultRow& mixed,
              const PageOptions& options) {
  const record::Config& config = mixed.record().config;
  const std::string budget = FigureMegabytes(config.budget_bytes.value_or(mixed.record().size.quantized_tensor_bytes));
  const ResultRow* uniform = UniformPartner(group, mixed);
  if (uniform == nullptr || !mixed.delta) {
    table.Add({model.name, budget, kNotMeasured, kNotMeasured, FigureDelta(mixed), kNotMeasured, kNotMeasured, "-",
               RecordCell(*mixed.stored, options)});
    return;
  }
  const PairedDelta change = DeltaOf(uniform->record(), mixed.record());
  table.Add({model.name, budget, uniform->name, FigureDelta(*uniform), FigureDelta(mixed), FigureDelta(change),
             Verdict(change, "mixed is better", "mixed is worse"), RecordCell(*uniform->stored, options),
             RecordCell(*mixed.stored, options)});
}

// A configuration calibrated on different texts, all else equal.
struct Calibrated {
  const ModelResults* model = nullptr;
  std::string config;
  std::map<std::string, const ResultRow*> by_text;
};

std::vector<Calibrated> CollectCalibrated(const ModelResults& model, const ResultGroup& group) {
  std::map<std::tuple<std::string, std::string, bool, bool>, Calibrated> found;
  for (const ResultRow& row : group.rows) {
    const record::Config& config = row.record().config;
    if (!config.calibration || !row.delta) continue;
    Calibrated& entry = found[{config.id, config.method, config.quantized_embeddings, config.quantized_head}];
    entry.model = &model;
    entry.config = config.id + ", " + config.method;
    entry.by_text.emplace(config.calibration->name, &row);
  }
  std::vector<Calibrated> list;
  for (auto& [key, entry] : found) list.push_back(std::move(entry));
  return list;
}

std::vector<Cell> CalibrationRow(const Calibrated& entry, const PageOptions& options) {
  const auto find = [&](const char* name) {
    const auto found = entry.by_text.find(name);
    return found == entry.by_text.end() ? nullptr : found->second;
  };
  const ResultRow* wiki = find(kWikiText);
  const ResultRow* bartowski = find(kBartowski);
  std::string difference = kNotMeasured;
  if (wiki != nullptr && bartowski != nullptr) {
    const bool identical = wiki->record().perplexity->window_nll == bartowski->record().perplexity->window_nll;
    difference =
        identical ? "none: calibration made no difference" : FigureDelta(DeltaOf(wiki->record(), bartowski->record()));
  }
  const auto record_cell = [&](const ResultRow* row) { return row ? RecordCell(*row->stored, options) : Cell("-"); };
  return {entry.model->name,
          entry.config,
          wiki ? FigureDelta(*wiki) : kNotMeasured,
          bartowski ? FigureDelta(*bartowski) : kNotMeasured,
          difference,
          record_cell(wiki),
          record_cell(bartowski)};
}

// The page's table; empty when neither of its two texts was used.
std::string PageTexts(const ResultGroup& group, const std::vector<Calibrated>& all, const PageOptions& options) {
  Table table;
  table.columns = {{"Model", Align::kLeft},
                   {"Config", Align::kLeft},
                   {"WikiText-2 delta %"},
                   {"Bartowski v3 delta %"},
                   {"Difference % [95 %]"},
                   {"WikiText-2 record", Align::kLeft},
                   {"Bartowski v3 record", Align::kLeft}};
  for (const Calibrated& entry : all) {
    if (entry.by_text.contains(kWikiText) || entry.by_text.contains(kBartowski)) {
      table.Add(CalibrationRow(entry, options));
    }
  }
  if (table.rows.empty()) return "";
  return EscapeMarkdown(DescribeText(*group.perplexity())) + "\n\n" + ToMarkdown(table) + "\n";
}

// Texts other than the page's two, each under its own name.
std::string OtherTexts(const ResultGroup& group, const std::vector<Calibrated>& all, const PageOptions& options) {
  Table table;
  table.columns = {{"Model", Align::kLeft},
                   {"Config", Align::kLeft},
                   {"Calibrated on", Align::kLeft},
                   {"Delta % [95 %]"},
                   {"Record", Align::kLeft}};
  for (const Calibrated& entry : all) {
    for (const auto& [name, row] : entry.by_text) {
      if (name == kWikiText || name == kBartowski) continue;
      table.Add({entry.model->name, entry.config, name, FigureDelta(*row), RecordCell(*row->stored, options)});
    }
  }
  if (table.rows.empty()) return "";
  return EscapeMarkdown(DescribeText(*group.perplexity())) + "\n\n" + ToMarkdown(table) + "\n";
}

}  // namespace

std::string MixedSection(const Analysis& analysis, const PageOptions& options) {
  std::string out = "## 3. Uniform and mixed precision\n\n";
  bool any = false;
  for (const ModelResults& model : analysis.models) {
    for (const ResultGroup& group : model.groups) {
      Table table;
      table.columns = {{"Model", Align::kLeft},
                       {"Budget MB"},
                       {"Uniform", Align::kLeft},
                       {"Uniform delta %"},
                       {"Mixed delta %"},
                       {"Mixed against uniform % [95 %]"},
                       {"Verdict", Align::kLeft},
                       {"Uniform record", Align::kLeft},
                       {"Mixed record", Align::kLeft}};
      for (const ResultRow& row : group.rows) {
        if (row.record().config.kind == record::Kind::kMixed) AddMixed(table, model, group, row, options);
      }
      if (table.rows.empty()) continue;
      any = true;
      if (group.perplexity() != nullptr) out += EscapeMarkdown(DescribeText(*group.perplexity())) + "\n\n";
      out += ToMarkdown(table) + "\n";
    }
  }
  if (!any) {
    return out +
           "Not measured. This version makes no mixed plans (one format per tensor, under the same bytes as the best "
           "single configuration), so no command measures it yet.\n";
  }
  return out +
         "Uniform: the best single configuration within the mixed plan's budget in bytes of quantized tensors. "
         "Negative: the mixed plan costs less perplexity.\n";
}

std::string CalibrationSection(const Analysis& analysis, const PageOptions& options) {
  std::string pairs;
  std::string others;
  for (const ModelResults& model : analysis.models) {
    for (const ResultGroup& group : model.groups) {
      const std::vector<Calibrated> calibrated = CollectCalibrated(model, group);
      pairs += PageTexts(group, calibrated, options);
      others += OtherTexts(group, calibrated, options);
    }
  }
  if (pairs.empty()) {
    pairs = fmt::format(
        "Not measured. The methods of this version use no calibration text ({}, {}), so no command "
        "measures it yet.\n",
        kWikiText, kBartowski);
  }
  if (!others.empty()) others = "\nCalibrated on other texts, each under its own name:\n\n" + others;
  return "## 4. WikiText-2 and Bartowski v3 calibration\n\n" + pairs + others;
}

}  // namespace marlin
