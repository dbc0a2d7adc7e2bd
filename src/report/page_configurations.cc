// Section 7: the fixed list of configurations, and which of them were measured.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "report/figures.h"
#include "report/page_sections.h"

namespace marlin {
namespace {

struct Configuration {
  std::string_view id;
  std::string_view type;
  std::string_view group;
  std::string_view description;
};

// Names and descriptions of the page that this project fills; ids never change their meaning.
constexpr std::array<Configuration, 8> kConfigurations = {{
    {"fp4-g32", "FP4 E2M1", "32", "tightest"},
    {"fp4-g64", "FP4 E2M1", "64", "balanced"},
    {"fp4-g128", "FP4 E2M1", "128", "standard (default)"},
    {"fp4-g256", "FP4 E2M1", "256", "aggressive"},
    {"int4-g64", "INT4 asymmetric", "64", "integer"},
    {"int4-g128", "INT4 asymmetric", "128", "standard INT4"},
    {"uniform", "mixed", "varies", "same precision in all layers"},
    {"mixed", "mixed", "varies", "layer-sensitive precision"},
}};

std::string MeasuredOn(const std::set<std::string>& models) {
  return models.empty() ? kNotMeasured : fmt::format("{}", fmt::join(models, ", "));
}

}  // namespace

Document ConfigurationsSection(const Analysis& analysis) {
  std::map<std::string, std::set<std::string>, std::less<>> models;  // configuration -> models
  std::map<std::string, const record::Config*> others;
  for (const ModelResults& model : analysis.models) {
    for (const ResultGroup& group : model.groups) {
      for (const ResultRow& row : group.rows) {
        const record::Config& config = row.record().config;
        models[config.id].insert(model.name);
        // "uniform" means the best single configuration beside a mixed one.
        if (config.kind == record::Kind::kMixed) models["uniform"].insert(model.name);
        others.emplace(config.id, &config);
      }
    }
  }
  Table table;
  table.columns = {{"ID", Align::kLeft},
                   {"Type", Align::kLeft},
                   {"Group"},
                   {"Description", Align::kLeft},
                   {"Measured on", Align::kLeft}};
  for (const Configuration& x : kConfigurations) {
    const auto found = models.find(x.id);
    table.Add({std::string(x.id), std::string(x.type), std::string(x.group), std::string(x.description),
               MeasuredOn(found == models.end() ? std::set<std::string>() : found->second)});
    others.erase(std::string(x.id));
  }
  for (const auto& [id, config] : others) {
    const bool imported = config->kind == record::Kind::kImported;
    const std::string description = config->kind == record::Kind::kBaseline ? "baseline"
                                    : imported                              ? "made by another program"
                                                                            : "not in the fixed list";
    table.Add({id, config->label, FigureGroup(*config), description, MeasuredOn(models[id])});
  }
  Document out;
  out.AddHeading(2, "7. Benchmark configurations");
  out.AddTable(std::move(table));
  return out;
}

}  // namespace marlin
