#include "study/mixed_rows.h"

#include <fmt/format.h>

#include <numeric>
#include <system_error>

#include "base/sha256.h"
#include "formats/formats.h"
#include "model/open_model.h"
#include "text/tokenizer.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

double MeanKl(const PrecisionPlan& plan, const HeldOutKl& row) {
  const double sum = std::accumulate(row.window_kl.begin(), row.window_kl.end(), 0.0);
  return sum / static_cast<double>(row.window_kl.size() * (plan.ctx - 1));
}

std::string Describe(const PrecisionPlan& plan) {
  std::string text = fmt::format("{:.4f} bits per weight", plan.bits_per_weight());
  if (plan.confirmed.empty()) return text;
  text += fmt::format(", held-out KL {:.4g} nats", MeanKl(plan, plan.confirmed[0]));
  if (const HeldOutKl* best = BestUniform(plan)) text += fmt::format(", {} {:.4g}", best->config, MeanKl(plan, *best));
  return text;
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

// A model that plans are made of, opened once for all budgets.
struct Source {
  Checkpoint checkpoint;
  Description description;
  Tokenizer tokenizer;
  std::string sha256;
};

Result<Source> Open(const fs::path& path, const std::vector<std::string>& accept_unknown) {
  auto opened = OpenModel(path, AcceptedNames(accept_unknown));
  if (!opened) return opened.error();
  auto tokenizer = Tokenizer::FromCheckpoint(opened->checkpoint);
  if (!tokenizer) return tokenizer.error();
  auto sha256 = HashCheckpoint(opened->checkpoint);
  if (!sha256) return sha256.error();
  return Source{std::move(opened->checkpoint), std::move(opened->description), std::move(*tokenizer),
                std::move(*sha256)};
}

// Everything that decides the sensitivities; with the budget, the plan.
std::string Key(const Source& source, const MixedRequest& request, const PlanOptions& options, bool with_budget) {
  std::string text =
      fmt::format("{}\n{}\n{}\n{} {}\n{}\n{} {}", source.sha256, source.tokenizer.sha256(), request.text->sha256,
                  request.ctx, request.windows, options.program, options.method, options.measure_all);
  if (with_budget) text += fmt::format("\n{} {}", static_cast<int>(options.kind), options.value);
  return Sha256Hex(text).substr(0, 16);
}

Result<PrecisionPlan> Make(const Source& source, const MixedRequest& request, PlanOptions options, Backend& backend,
                           const ProgressFn& progress) {
  auto stream = MakeTokenStream(source.tokenizer, request.text->text);
  if (!stream) return Error{stream.error().code, request.text->name + ": " + stream.error().message};
  const auto windows = CutPlanWindows(std::move(*stream), request.ctx, request.windows,
                                      kHeldOutPerWindow * request.windows, request.text->name, request.text->sha256);
  if (!windows) return windows.error();
  std::error_code code;
  fs::create_directories(request.work, code);
  if (code) {
    return Error{ErrorCode::kInput, fmt::format("cannot create {}: {}", request.work.string(), code.message())};
  }
  options.kept = request.work / fmt::format("sensitivities-{}.json", Key(source, request, options, false));
  options.model_sha256 = source.sha256;
  options.tokenizer_sha256 = source.tokenizer.sha256();
  return MakePlan(source.checkpoint, *windows, options, backend, progress);
}

}  // namespace

Result<std::vector<std::optional<PrecisionPlan>>> FindPlans(const fs::path& model, const MixedRequest& request,
                                                            Backend* backend, const ProgressFn& progress,
                                                            const std::function<void(const std::string&)>& say) {
  const auto source = Open(model, request.accept_unknown);
  if (!source) return source.error();
  std::vector<std::optional<PrecisionPlan>> plans;
  if (!request.file.empty()) {
    auto plan = ReadPlan(request.file, source->description, source->sha256, source->tokenizer.sha256());
    if (!plan) return plan.error();
    plans.emplace_back(std::move(*plan));
    return plans;
  }
  for (const PlanOptions& options : request.budgets) {
    const fs::path file = request.work / fmt::format("plan-{}.json", Key(*source, request, options, true));
    if (auto kept = ReadPlan(file, source->description, source->sha256, source->tokenizer.sha256()); kept.ok()) {
      plans.emplace_back(std::move(*kept));
      continue;
    }
    plans.emplace_back();
    if (backend == nullptr) continue;
    auto plan = Make(*source, request, options, *backend, progress);
    if (!plan) return plan.error();
    if (auto status = WritePlan(*plan, file); !status) return status.error();
    say(fmt::format("{}: plan {}: {}", source->checkpoint.name, file.string(), Describe(*plan)));
    plans.back() = std::move(*plan);
  }
  return plans;
}

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
