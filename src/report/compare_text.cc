#include "report/compare_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>
#include <utility>

#include "report/figures.h"
#include "report/table.h"

namespace marlin {
namespace {

const char* UnitOf(const ComparedMeasure& measure) { return measure.change == &ComparedRow::kl ? "1e-3 nats" : "%"; }

const char* FlagOf(const ComparedMeasure& measure) {
  if (measure.limit == &CompareLimits::ppl_delta_percent) return "--max-ppl-delta";
  return measure.limit == &CompareLimits::kl_nats ? "--max-kl" : "--max-slowdown";
}

constexpr const char* kOneRun =
    "The interval covers the noise inside one run of A and one of B, not the noise between runs, which can be "
    "larger.\n";

// A change or a limit, in the unit of the measure.
std::string Signed(double x, const ComparedMeasure& measure) {
  return measure.change == &ComparedRow::kl ? fmt::format("{:+.3f}", 1e3 * x + 0.0) : FigurePercent(x);
}

std::string ChangeText(const Change& x, const ComparedMeasure& measure) {
  if (!x.change_95) return fmt::format("{} (no interval: {})", Signed(x.change, measure), x.why_no_interval);
  return fmt::format("{} [{}, {}]", Signed(x.change, measure), Signed(x.change_95->low, measure),
                     Signed(x.change_95->high, measure));
}

std::vector<std::string> ExceededOf(const ComparedRow& row, const CompareLimits& limits) {
  std::vector<std::string> sentences;
  for (const ComparedMeasure* measure : row.exceeded) {
    sentences.push_back(fmt::format("{} {}: {} {} {}, limit {} ({})", row.model, row.name, measure->name,
                                    ChangeText(*(row.*measure->change), *measure), UnitOf(*measure),
                                    Signed(*(limits.*measure->limit), *measure), FlagOf(*measure)));
  }
  return sentences;
}

std::string Judgement(const Change& x) {
  if (!x.change_95) return "not tested";
  if (x.change_95->Contains(0)) return "no measurable difference";
  return x.change > 0 ? "worse" : "better";
}

std::string TestedText(const TestedRows& count) {
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

std::vector<std::string> ExceededLimits(const Comparison& comparison) {
  std::vector<std::string> all;
  for (const ComparedRow& row : comparison.rows) {
    for (std::string& sentence : ExceededOf(row, comparison.limits)) all.push_back(std::move(sentence));
  }
  return all;
}

std::vector<std::string> UntestedLimits(const Comparison& comparison) {
  std::vector<std::string> sentences;
  for (const ComparedMeasure* measure : comparison.untested) {
    sentences.push_back(
        fmt::format("{}: no row has a {} with an interval in both folders", FlagOf(*measure), measure->name));
  }
  if (comparison.lacks_rows()) {
    sentences.push_back(
        fmt::format("B lacks rows of A: {}", OneLine(fmt::format("{}", fmt::join(comparison.only_a, ", ")))));
  }
  return sentences;
}

std::vector<std::string> PartlyTestedLimits(const Comparison& comparison) {
  std::vector<std::string> sentences;
  for (const PartlyTested& some : comparison.partly_tested) {
    sentences.push_back(fmt::format("{}: {} of {} rows have no interval of their {} and were not tested against it: {}",
                                    FlagOf(*some.measure), some.without_interval.size(), some.rows, some.measure->name,
                                    fmt::join(some.without_interval, ", ")));
  }
  return sentences;
}

std::string CompareText(const Comparison& comparison) {
  std::string out;
  for (const ComparedMeasure& measure : kComparedMeasures) {
    Table table;
    table.columns = {{"Model", Align::kLeft},
                     {"Config", Align::kLeft},
                     {"Text", Align::kLeft},
                     {"A"},
                     {"B"},
                     {fmt::format("B against A, {} [95 %]", UnitOf(measure))},
                     {"", Align::kLeft}};
    const auto number = [&](double x) {
      if (measure.change == &ComparedRow::perplexity) return FigureFixed(x, 3);
      return FigureThreeDigits(measure.change == &ComparedRow::kl ? 1e3 * x : x);
    };
    for (const ComparedRow& row : comparison.rows) {
      const std::optional<Change>& x = row.*measure.change;
      if (!x) continue;
      table.Add({row.model, row.name, row.text, number(x->a), number(x->b), ChangeText(*x, measure), Judgement(*x)});
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
                                 {"untested", UntestedLimits(comparison)},
                                 {"exceeded", comparison.exceeded()}};
  for (const ComparedMeasure& measure : kComparedMeasures) {
    const TestedRows count = CountTested(comparison, measure);
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
                            {"exceeded", ExceededOf(row, comparison.limits)}});
  }
  return json;
}

}  // namespace marlin
