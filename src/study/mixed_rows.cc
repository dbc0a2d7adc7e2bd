#include "study/mixed_rows.h"

#include <fmt/format.h>

#include <numeric>
#include <utility>

#include "base/sha256.h"
#include "formats/formats.h"
#include "quantize/method.h"
#include "text/tokenizer.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

double MeanKl(const PrecisionPlan& plan, const HeldOutKl& row) {
  const double sum = std::accumulate(row.window_kl.begin(), row.window_kl.end(), 0.0);
  return sum / static_cast<double>(row.window_kl.size() * (plan.ctx - 1));
}

// The last words of the names, without "_proj".
std::string UnitName(const PlanUnit& unit) {
  std::string text;
  for (const std::string& stem : unit.stems) {
    std::string name = stem.substr(stem.rfind('.') + 1);
    if (name.ends_with("_proj")) name.resize(name.size() - 5);
    text += (text.empty() ? "" : " ") + name;
  }
  return text;
}

// A hash of everything that decides the sensitivities; with the budget, the plan.
std::string PlanKey(const ComparisonModel& model, const ComparisonOptions& options, const PlanOptions& plan,
                    bool with_budget) {
  const PlanRequest& request = options.plans;
  std::string text =
      fmt::format("v{}\n{}\n{}\n{}\n{} {}\n{}\n{} {} {}", kPlanVersion, model.sha256, model.tokenizer_sha256,
                  request.text->sha256, request.ctx, request.windows, options.maker_arithmetic, plan.method,
                  ParseRecipe(plan.method)->versions, plan.measure_all);
  if (with_budget) text += fmt::format("\n{} {}", static_cast<int>(plan.kind), plan.value);
  return Sha256Hex(text).substr(0, 16);
}

fs::path PlanPath(const ComparisonModel& model, const ComparisonOptions& options, std::size_t i) {
  return options.work / fmt::format("plan-{}.json", PlanKey(model, options, options.plans.budgets[i], true));
}

}  // namespace

std::string Describe(const PrecisionPlan& plan) {
  std::string text = fmt::format("{:.4f} bits per weight", plan.bits_per_weight());
  if (plan.confirmed.empty()) return text;
  text += fmt::format(", held-out KL {:.4g} nats", MeanKl(plan, plan.confirmed[0]));
  if (const HeldOutKl* best = BestUniform(plan)) text += fmt::format(", {} {:.4g}", best->config, MeanKl(plan, *best));
  return text;
}

std::string PlanName(const ComparisonModel& model, const ComparisonOptions& options, std::size_t i) {
  const fs::path& named = options.plans.file;
  return (named.empty() ? PlanPath(model, options, i) : named).filename().string();
}

Result<std::optional<PrecisionPlan>> FindPlan(const ComparisonModel& model, const ComparisonOptions& options,
                                              std::size_t i) {
  const fs::path& named = options.plans.file;
  auto plan = ReadPlan(named.empty() ? PlanPath(model, options, i) : named, model.description, model.sha256,
                       model.tokenizer_sha256);
  if (plan) return std::optional(std::move(*plan));
  if (!named.empty()) return plan.error();
  return std::optional<PrecisionPlan>();
}

Status MakePlanFor(const ComparisonModel& model, const ComparisonOptions& options, std::size_t i, Backend& backend,
                   const ProgressFn& progress) {
  const PlanRequest& request = options.plans;
  const auto tokenizer = Tokenizer::FromCheckpoint(model.checkpoint);
  if (!tokenizer) return tokenizer.error();
  auto stream = MakeTokenStream(*tokenizer, request.text->text);
  if (!stream) return Error{stream.error().code, request.text->name + ": " + stream.error().message};
  const auto windows = CutPlanWindows(std::move(*stream), request.ctx, request.windows,
                                      kHeldOutPerWindow * request.windows, request.text->name, request.text->sha256);
  if (!windows) return windows.error();
  PlanOptions plan = request.budgets[i];
  plan.kept = options.work / fmt::format("sensitivities-{}.json", PlanKey(model, options, plan, false));
  plan.model_sha256 = model.sha256;
  plan.tokenizer_sha256 = model.tokenizer_sha256;
  const auto made = MakePlan(model.checkpoint, *windows, plan, backend, progress);
  if (!made) return made.error();
  return WritePlan(*made, PlanPath(model, options, i));
}

static_assert(record::kKeptUnit == kKeptName);

record::Plan PlanRecord(const PrecisionPlan& plan) {
  record::Plan out{{plan.text_name, plan.text_sha256, plan.windows, plan.ctx}, plan.method, plan.probe, {}};
  for (const PlanUnit& unit : plan.units) {
    const PlanCandidate* probe = unit.Find(plan.probe);
    out.units.push_back({unit.layer, UnitName(unit), std::string(unit.choice().name()), unit.choice().bytes,
                         unit.choice().kl(), probe == nullptr ? std::nullopt : probe->measured_kl});
  }
  return out;
}

const FormatRow* UniformOf(const PrecisionPlan& plan) {
  if (const HeldOutKl* best = BestUniform(plan)) {
    if (const FormatRow* format = FindFormat(best->config)) return format;
  }
  const std::uint64_t most = plan.budget.kind == BudgetKind::kMostKl ? plan.bytes() : plan.budget.bytes;
  const FormatRow* least = nullptr;
  std::optional<double> least_kl;
  for (const UniformChoice& choice : UniformChoices(plan)) {
    if (choice.bytes > most || !choice.kl || (least_kl && *choice.kl >= *least_kl)) continue;
    least = choice.format;
    least_kl = choice.kl;
  }
  return least;
}

}  // namespace marlin
